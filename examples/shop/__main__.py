"""Run the sample shop: half a year of simulated visitors, sent through the SDK over real HTTP.

    python examples/shop --endpoint http://127.0.0.1:8000 --write-key dev

Progress goes to standard error; the last line of standard output counts the calls as JSON.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
from datetime import UTC, datetime, timedelta

from rich.console import Console
from rich.progress import track as progress
from shop import Shop
from visitors import history, visitors

from desirepath import Tracker
from desirepath.resources import starter_plan


def main() -> int:
    """Simulate, send, and say what became of it."""
    parser = argparse.ArgumentParser(prog="examples/shop", description=__doc__)
    parser.add_argument("--endpoint", default="http://127.0.0.1:8000")
    parser.add_argument("--write-key", default="dev")
    parser.add_argument("--visitors", type=int, default=3000)
    parser.add_argument("--days", type=int, default=180)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--end", help="end of the simulation, ISO 8601 (the last whole hour)")
    args = parser.parse_args()
    logging.basicConfig(format="%(message)s", level=logging.ERROR)

    last_hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    end = datetime.fromisoformat(args.end) if args.end else last_hour
    people = visitors(args.visitors, seed=args.seed, start=end - timedelta(days=args.days), end=end)
    actions = history(people, seed=args.seed, end=end)

    with (
        tempfile.TemporaryDirectory() as queue,
        Tracker(
            args.endpoint, write_key=args.write_key, plan=starter_plan("shop"), queue_dir=queue
        ) as tracker,
    ):
        # Ids that follow from the world alone: simulated and sent again, each is stored once.
        shop = Shop(tracker, world=f"shop-{args.seed}-{args.visitors}-{end:%Y%m%d%H}")
        doing = f"{args.visitors:,} visitors use the shop"
        for action in progress(actions, doing, console=Console(stderr=True)):
            shop.handle(action)
        if not tracker.flush(timeout=120):
            print(f"not everything was delivered: {tracker.stats()}", file=sys.stderr)
            return 1
    print(json.dumps({"events": shop.calls}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
