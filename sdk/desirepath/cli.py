"""The `desirepath` command.

It knows no command itself: each is an entry point of the group `desirepath.commands`, a module
with three names, so that a lower package never imports a higher one:

- `HELP`: one line;
- `configure(parser)`: adds its arguments to an `argparse.ArgumentParser`;
- `run(args) -> int`: does it and returns the exit code.

Command modules import nothing heavy at their top; what `run` needs it imports itself. A module
whose third-party imports are missing is answered by the name of the extra to install.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points, version
from typing import Final, Protocol, cast

from desirepath.errors import DesirepathError, PlanError

__all__ = ["Command", "main"]

GROUP: Final = "desirepath.commands"

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130

_EXTRAS: Final = {"desirepath_collector": "collector", "desirepath_analytics": "analytics"}


class Command(Protocol):
    """What a command's module offers."""

    HELP: str

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments."""

    def run(self, args: argparse.Namespace) -> int:
        """Do it; the exit code."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; the exit code. Mistakes and failures are one message, no traceback."""
    words = list(sys.argv[1:] if argv is None else argv)
    points = {point.name: point for point in entry_points(group=GROUP)}
    wanted = next((word for word in words if not word.startswith("-")), None)
    try:
        parser = _parser(points, wanted)
        args = parser.parse_args(words)
        if args.command is None:
            parser.print_help()
            return EXIT_USAGE
        try:
            return cast("Command", args.module).run(args)
        except ModuleNotFoundError as error:
            raise _missing_extra(points[args.command], error) from error
    except _MissingExtra as missing:
        _complain(str(missing), f"pip install 'desirepath[{missing.extra}]'")
    except PlanError as error:
        _complain(str(error), error.hint)
    except DesirepathError as error:
        _complain(error.message, error.hint)
    except BrokenPipeError:
        # The reader of our output went away (`desirepath sql ... | head`): nothing to say.
        sys.stderr.close()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return EXIT_FAILED


class _MissingExtra(Exception):
    """A command's third-party package is not installed; `extra` brings it."""

    def __init__(self, command: str, extra: str, module: str | None) -> None:
        super().__init__(f"`desirepath {command}` needs {module}, which is not installed")
        self.extra = extra


def _missing_extra(point: EntryPoint, error: ModuleNotFoundError) -> Exception:
    """What to raise for an import that failed: our own missing module is a bug, not an extra."""
    extra = _EXTRAS.get(point.module.partition(".")[0])
    if extra is None or error.name is None or error.name.startswith("desirepath"):
        return error
    return _MissingExtra(point.name, extra, error.name)


def _parser(points: dict[str, EntryPoint], wanted: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="desirepath",
        description="Behavioural analytics from one tracking plan.",
    )
    parser.add_argument("--version", action="version", version=version("desirepath"))
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name in sorted(points):
        # Only the wanted command is imported; the list of all needs each one's help.
        if wanted in points and name != wanted:
            commands.add_parser(name)
            continue
        try:
            module = cast("Command", points[name].load())
        except ModuleNotFoundError as error:
            missing = _missing_extra(points[name], error)
            if name == wanted or not isinstance(missing, _MissingExtra):
                raise missing from error
            commands.add_parser(name, help=f"(install desirepath[{missing.extra}])")
            continue
        sub = commands.add_parser(name, help=module.HELP, description=module.HELP)
        module.configure(sub)
        sub.set_defaults(module=module)
    return parser


def _complain(message: str, hint: str | None) -> None:
    print(f"desirepath: {message}", file=sys.stderr)
    if hint:
        print(f"  {hint}", file=sys.stderr)
