"""`desirepath plan`: the tools around the tracking plan, one module each.

Each offers HELP, `configure(parser)` and `run(args)`, as a command of its own would. With
`--json` everything a command has to say is one JSON object on the standard output, mistakes
included; without it, results go to the standard output and remarks to the standard error.
Exit codes: 0 fine, 1 something was found or failed, 2 wrong usage.
"""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Final, cast

from desirepath.cli import Command
from desirepath.commands.plan.output import print_json
from desirepath.errors import DesirepathError, PlanError

__all__ = ["HELP", "configure", "run"]

HELP = "check, compare, describe, draft and publish tracking plans"

_ACTIONS: Final = {
    "check": "check",
    "diff": "diff",
    "docs": "docs",
    "codegen": "codegen",
    "infer": "infer",
    "import": "import_",
    "schema": "schema",
    "publish": "publish",
}
"""Each action and its module."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add one sub-command a module."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, file in _ACTIONS.items():
        module = cast("Command", import_module(f"{__name__}.{file}"))
        sub = actions.add_parser(name, help=module.HELP, description=module.HELP)
        sub.add_argument("--json", action="store_true", help="answer with one JSON object")
        module.configure(sub)
        sub.set_defaults(run_action=module.run, usage_error=sub.error)


def run(args: argparse.Namespace) -> int:
    """Run the wanted one."""
    try:
        return int(args.run_action(args))
    except DesirepathError as error:
        if not args.json:
            raise
        place = (
            {"path": error.path, "line": error.line, "column": error.column}
            if isinstance(error, PlanError)
            else {}
        )
        print_json({"error": {"message": error.message, "hint": error.hint, **place}})
        return 1
