"""`desirepath plan publish`: make a plan the live one of a collector."""

from __future__ import annotations

import argparse
import os

from desirepath.commands.plan.output import print_json
from desirepath.commands.plan.remote import add_write_key, endpoint, write_key
from desirepath.errors import SettingsError
from desirepath.plan import Plan

__all__ = ["HELP", "configure", "run"]

HELP = "make a plan the live one of a collector"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "targets",
        nargs="*",
        metavar="FILE|URL",
        help="the plan (default: DESIREPATH_PLAN) and the collector (default: "
        "DESIREPATH_ENDPOINT, else http://127.0.0.1:8000)",
    )
    parser.add_argument("--endpoint", metavar="URL", help="the collector, as an option")
    add_write_key(parser)


def run(args: argparse.Namespace) -> int:
    """0: it is live."""
    from desirepath.plan.live import publish

    urls = [word for word in args.targets if "://" in word]
    files = [word for word in args.targets if "://" not in word]
    if args.endpoint:
        urls.append(args.endpoint)
    if len(urls) > 1 or len(files) > 1:
        args.usage_error("give one plan and one collector: FILE URL")
    file = files[0] if files else os.environ.get("DESIREPATH_PLAN")
    if not file:
        raise SettingsError(
            "no plan to publish",
            hint="desirepath plan publish FILE URL, or set DESIREPATH_PLAN.",
        )
    url = endpoint(urls[0] if urls else None)
    plan = Plan.load(file)
    published = publish(plan, url, write_key(args, url))
    if args.json:
        version = published.version
        print_json({"success": True, "endpoint": url, "plan": published.plan, "version": version})
    else:
        print(f"{published.plan} {published.version} is live at {url}")
    return 0
