"""`desirepath plan diff`: what a new version breaks, for whom, and the bump that takes."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

from desirepath.commands.plan.output import paint, print_json
from desirepath.commands.plan.remote import add_write_key, write_key
from desirepath.plan import Plan

if TYPE_CHECKING:
    from desirepath.plan.diff import Diff

__all__ = ["HELP", "configure", "run"]

HELP = "tell what a new version of a plan breaks, and whether its version says so"

_SHOWN_REASONS: Final = 4
_COLOURS: Final = {"breaking": "red", "risky": "yellow", "compatible": "green", "note": "dim"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "plans", nargs="+", metavar="PLAN", help="the old and the new plan; with --against the new"
    )
    parser.add_argument(
        "--against", metavar="URL", help="compare with the live plan of this collector"
    )
    add_write_key(parser)


def run(args: argparse.Namespace) -> int:
    """0: the version says what changed; 1: it does not."""
    from desirepath.plan.diff import diff

    if len(args.plans) != (1 if args.against else 2):
        args.usage_error("give OLD and NEW, or: NEW --against URL")
    new = Plan.load(args.plans[-1])
    if args.against:
        from desirepath.plan.live import fetch

        old = fetch(args.against, write_key(args))
    else:
        old = Plan.load(args.plans[0])
    found = diff(old, new)
    if args.json:
        print_json(
            {
                "plan": found.plan,
                "old_version": found.old_version,
                "new_version": found.new_version,
                "changes": found.changes,
                "affected": found.affected,
                "bump": {
                    "needed": found.needed,
                    "made": found.made,
                    "enough": found.enough,
                    "wanted_version": found.wanted_version,
                },
            }
        )
    else:
        _print(found)
    return int(not found.enough)


def _print(found: Diff) -> None:
    from desirepath.plan.diff import LEVELS

    print(f"{found.plan} {found.old_version} -> {found.new_version}")
    for level in LEVELS:
        changes = [change for change in found.changes if change.level == level]
        if not changes:
            continue
        print(f"\n{paint(level, _COLOURS[level])}")
        for change in changes:
            why = f" ({change.why})" if change.why else ""
            print(f"  {change.subject}: {change.text}{why}")
    if found.affected:
        print(f"\n{paint('what is built on it', 'bold')}")
    for affected in found.affected:
        fate = paint(affected.fate, "red" if affected.fate == "breaks" else "yellow")
        print(f"  {affected.kind} {affected.name!r} {_verb(affected.fate)}{fate}")
        for reason in affected.reasons[:_SHOWN_REASONS]:
            print(f"    {reason}")
        if len(affected.reasons) > _SHOWN_REASONS:
            print(f"    and {len(affected.reasons) - _SHOWN_REASONS} more (all with --json)")
    print()
    if not found.changes:
        print("nothing changed" + ("" if found.enough else ", but the version goes backwards"))
    elif found.enough:
        print(paint(f"the version is right: a {found.needed} bump is needed", "green"))
    else:
        made = {"backwards": "it goes backwards", "none": "it is the same"}.get(
            found.made, f"it is a {found.made} one"
        )
        text = f"the version must be {found.wanted_version} or later: "
        print(paint(f"{text}a {found.needed} bump is needed, {made}", "red"))


def _verb(fate: str) -> str:
    return "" if fate == "breaks" else "is "
