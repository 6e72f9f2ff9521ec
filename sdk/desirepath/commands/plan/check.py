"""`desirepath plan check`: whether a plan holds, and what in it will be regretted."""

from __future__ import annotations

import argparse

from desirepath.commands.plan.output import paint, plural, print_json
from desirepath.errors import PlanError
from desirepath.plan import Plan

__all__ = ["HELP", "configure", "run"]

HELP = "find errors, and what is not wrong but will be regretted"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("file", help="the plan")
    parser.add_argument("--strict", action="store_true", help="exit with 1 for findings, too")


def run(args: argparse.Namespace) -> int:
    """0: fine; 1: an error, or with --strict a finding."""
    from desirepath.plan.lint import lint

    try:
        plan = Plan.load(args.file)
        plan.compile()
    except PlanError as error:
        if args.json:
            place = {"path": error.path, "line": error.line, "column": error.column}
            print_json(
                {
                    "ok": False,
                    "errors": [{**place, "message": error.message, "hint": error.hint}],
                    "findings": [],
                }
            )
            return 1
        raise
    findings = lint(plan)
    failed = bool(findings) and args.strict
    if args.json:
        print_json(
            {
                "ok": not failed,
                "plan": plan.name,
                "version": plan.version,
                "errors": [],
                "findings": [
                    {
                        "rule": finding.rule,
                        "path": finding.place.path,
                        "line": finding.place.line,
                        "column": finding.place.column,
                        "message": finding.message,
                    }
                    for finding in findings
                ],
            }
        )
        return int(failed)
    for finding in findings:
        label = paint(f"[{finding.rule}]", "yellow")
        print(f"{finding.place}: {finding.message} {label}")
    parts = [
        plural(len(plan.events), "event"),
        plural(sum(len(event.properties) for event in plan.events.values()), "property").replace(
            "propertys", "properties"
        ),
        *(
            plural(len(found), kind)
            for kind in ("journey", "segment", "metric", "model", "experiment")
            if (found := getattr(plan, f"{kind}s"))
        ),
    ]
    verdict = plural(len(findings), "finding") if findings else paint("no findings", "green")
    print(f"{plan.name} {plan.version}: {', '.join(parts)}; {verdict}")
    return int(failed)
