"""Write docs/commands.md from the commands themselves: `make docs`.

The page is committed, and a test compares it with what this file would write.
"""

from __future__ import annotations

import argparse
import os
from importlib.metadata import entry_points
from pathlib import Path

PAGE = Path(__file__).parent / "commands.md"

HEAD = """\
# Commands

Every command takes `--json`, for scripts; without it a terminal shows tables, and progress for
long work. Reading commands take `--data FOLDER` (default `./data`; also while a server holds it)
or `--url` of a ClickHouse server; sending commands take `--endpoint` and `--write-key`. A mistake
is one message on standard error and exit code 1 (2 for words that a command does not know).

This page is written by `make docs` from the commands' own help.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for point in sorted(entry_points(group="desirepath.commands"), key=lambda each: each.name):
        module = point.load()
        parser = argparse.ArgumentParser(
            prog=f"desirepath {point.name}", description=module.HELP, formatter_class=_formatter
        )
        module.configure(parser)
        parts += [_section(parser, "##"), *(_section(sub, "###") for sub in _subparsers(parser))]
    return "\n".join(parts)


def _formatter(prog: str) -> argparse.HelpFormatter:
    """Help at one width, whatever the terminal."""
    return argparse.HelpFormatter(prog, width=96, max_help_position=32)


def _section(parser: argparse.ArgumentParser, heading: str) -> str:
    return f"{heading} {parser.prog}\n\n```text\n{parser.format_help().rstrip()}\n```\n"


def _subparsers(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found = list(action.choices.values())
            for sub in found:
                sub.formatter_class = _formatter
            return found
    return []


if __name__ == "__main__":
    # Some helps name a default that is read from the environment.
    for name in [name for name in os.environ if name.startswith("DESIREPATH_")]:
        del os.environ[name]
    PAGE.write_text(page(), encoding="utf-8")
