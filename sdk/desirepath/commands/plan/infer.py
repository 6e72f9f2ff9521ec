"""`desirepath plan infer`: draft a plan from recorded events."""

from __future__ import annotations

import argparse
import sys

from desirepath.commands.plan.output import plural, print_json, write_text

__all__ = ["HELP", "configure", "run"]

HELP = "draft a plan from recorded events (JSON Lines or CSV)"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="recorded events")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the draft here")
    parser.add_argument("--name", help="the plan's name (default: the first file's name)")
    parser.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="FIELD=COLUMN,...",
        help="which column or field holds what, as in `desirepath send`, e.g. event=page",
    )
    parser.add_argument(
        "--event", metavar="NAME", help="the name of all events, where no field holds it"
    )
    parser.add_argument(
        "--ignore",
        metavar="FIELD",
        action="append",
        default=[],
        help="a field or column that is no property; may be repeated",
    )


def run(args: argparse.Namespace) -> int:
    """0: drafted."""
    from desirepath._shape import parse_map
    from desirepath.plan.infer import infer

    draft = infer(
        args.files,
        name=args.name,
        mapping=parse_map(args.map),
        event=args.event,
        ignore=args.ignore,
    )
    if args.json:
        if args.output is not None:
            write_text(draft.text, args.output)
        print_json(
            {
                "calls": draft.calls,
                "skipped": draft.skipped_total,
                "skipped_first": draft.skipped,
                "personal": draft.personal,
                "plan": draft.plan,
                "text": draft.text,
                "output": args.output,
            }
        )
        return 0
    write_text(draft.text, args.output)
    events = len(draft.plan.get("events", ()))
    remarks = [f"drafted {plural(events, 'event')} from {plural(draft.calls, 'call')}"]
    grouped: dict[tuple[str, str, str], int] = {}
    for flag in draft.personal:
        key = (flag.pointer.rpartition("/")[2], flag.reason, flag.treatment)
        grouped[key] = grouped.get(key, 0) + 1
    for (name, reason, treatment), count in grouped.items():
        places = f", in {count} places" if count > 1 else ""
        remarks.append(f"{name!r} looks like {reason}: marked `pii: {treatment}`{places}")
    if draft.skipped_total:
        remarks.append(f"{plural(draft.skipped_total, 'record')} skipped:")
        remarks.extend(f"  {skipped.place}: {skipped.reason}" for skipped in draft.skipped[:5])
    if args.output is not None:
        remarks.append(f"written to {args.output}; now: desirepath plan check {args.output}")
    print("\n".join(remarks), file=sys.stderr)
    return 0
