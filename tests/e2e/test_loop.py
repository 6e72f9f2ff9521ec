"""The way of an event through the running server, as a developer and an analyst would walk it."""

from __future__ import annotations

import json
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import urllib3

from desirepath import Tracker
from desirepath.resources import starter_plan
from desirepath_analytics import Funnel, Segment, connect, did, trait

Cli = Callable[..., subprocess.CompletedProcess[str]]

ORDER = {"order_id": "A1", "total": 42.5, "currency": "EUR", "products": []}


@pytest.fixture(scope="module")
def shop(start_server: Any, tmp_path_factory: pytest.TempPathFactory, wait_for_rows: Any) -> Any:
    """A server with the starter plan `shop` and a handful of visitors."""
    data = tmp_path_factory.mktemp("shop") / "data"
    server = start_server(data, "--plan", str(starter_plan("shop")))
    with Tracker(
        server.http,
        write_key="dev",
        plan=starter_plan("shop"),
        queue_dir=tmp_path_factory.mktemp("queue"),
    ) as tracker:
        for number in range(10):
            who = {"user_id": f"u{number}"}
            product = {"product_id": "P1", "name": "Map", "price": 12.5}
            tracker.identify(f"u{number}", {"country": "SE" if number % 2 else "NL"})
            tracker.track("Product Viewed", product, **who)
            if number < 6:
                tracker.track("Product Added", {**product, "quantity": 1}, **who)
            if number < 3:
                tracker.track("Order Completed", {**ORDER, "order_id": f"A{number}"}, **who)
        tracker.track("Order Completed", {"order_id": "B1", "total": "a lot"}, user_id="u9")
        assert tracker.flush(timeout=30)
    wait_for_rows(data, events=29, quarantined=1)
    return server


def test_a_funnel_counts_people_through_the_running_server(shop: Any) -> None:
    """The same answer from Python as the events that were sent."""
    with connect(str(shop.data)) as warehouse:
        result = Funnel(["Product Viewed", "Product Added", "Order Completed"], within="7d").run(
            warehouse, since="2026-01-01"
        )
    assert list(result.frame["people"]) == [10, 6, 3]


def test_the_data_folder_is_for_its_owner_alone(shop: Any) -> None:
    """Nobody else on the machine reads what the collector keeps."""
    assert stat.S_IMODE(shop.data.stat().st_mode) == 0o700


def test_a_segment_from_python(shop: Any) -> None:
    """Behaviour and trait together."""
    with connect(str(shop.data)) as warehouse:
        buyers = did("Order Completed") & trait("country").is_in(["SE"])
        result = Segment(buyers).run(warehouse, since="2026-01-01")
    assert result.size == 1


def test_the_same_funnel_from_the_command_line(shop: Any, cli_json: Callable[..., Any]) -> None:
    """Steps on the command line, and the journey that the plan names."""
    steps = ["--step", "Product Viewed", "--step", "Product Added", "--step", "Order Completed"]
    answer = cli_json("funnel", *steps, "--within", "7d", "--data", str(shop.data))
    assert [step["people"] for step in answer["steps"]] == [10, 6, 3]
    named = cli_json("funnel", "purchase", "--data", str(shop.data))
    assert named["steps"][0]["people"] == 10


def test_what_breaks_the_plan_is_in_quarantine_with_its_reasons(
    shop: Any, cli_json: Callable[..., Any]
) -> None:
    """One event of the fixture carries a total that is no number."""
    (row,) = cli_json("quarantine", "ls", "--data", str(shop.data))
    assert row["events"] == 1
    assert row["event"] == "Order Completed"
    assert (row["code"], row["pointer"]) == ("type", "/properties/total")


def test_the_other_segment_routes_take_events(start_server: Any, tmp_path: Path, cli: Cli) -> None:
    """Each of the six calls has a route of its own."""
    server = start_server(tmp_path / "data", "--plan", str(starter_plan("shop")))
    headers = urllib3.make_headers(basic_auth="dev:")
    bodies: dict[str, dict[str, Any]] = {
        "track": {"event": "Order Completed", "properties": ORDER},
        "identify": {"traits": {"country": "SE"}},
        "page": {"properties": {"path": "/", "url": "https://shop.example/"}},
        "screen": {"name": "Home"},
        "group": {"groupId": "g1", "traits": {}},
        "alias": {"previousId": "old"},
    }
    with urllib3.PoolManager() as http:
        for route, body in bodies.items():
            for path in (f"/v1/{route}", f"/v1/{route[0]}"):
                event = {"userId": "u1", "messageId": f"m-{path}", **body}
                answer = http.request("POST", server.http + path, json=event, headers=headers)
                assert answer.status == 200, (path, answer.data)
                assert answer.json()["success"] is True


def test_a_wrong_key_is_one_clear_message(shop: Any, tmp_path: Path, cli: Cli) -> None:
    """`send` with a key that the collector does not know."""
    file = tmp_path / "events.jsonl"
    file.write_text(json.dumps({"user_id": "u1", "event": "Page Viewed"}) + "\n")
    done = cli("send", str(file), "--endpoint", shop.http, "--write-key", "wrong")
    assert done.returncode != 0
    assert "write key" in done.stderr.lower()
    assert "Traceback" not in done.stderr


def test_an_unreachable_collector_is_one_clear_message(tmp_path: Path, cli: Cli) -> None:
    """Nobody listens on port 9 of this machine."""
    file = tmp_path / "events.jsonl"
    file.write_text(json.dumps({"user_id": "u1", "event": "Page Viewed"}) + "\n")
    done = cli("send", str(file), "--endpoint", "http://127.0.0.1:9")
    assert done.returncode != 0
    assert "http://127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_held_by_another_server_is_one_clear_message(shop: Any, cli: Cli) -> None:
    """A second server on the same folder."""
    done = cli("serve", "--data", str(shop.data), "--port", "0", "--clickhouse-port", "0")
    assert done.returncode == 1
    assert str(shop.data) in done.stderr
    assert "Traceback" not in done.stderr


def test_a_plan_with_a_mistake_says_where(tmp_path: Path, cli: Cli) -> None:
    """File, line and column, and the nearest key."""
    plan = tmp_path / "plan.yaml"
    plan.write_text("plan: shop\nversion: 1.0.0\nevnts: {}\n")
    done = cli("serve", "--data", str(tmp_path / "data"), "--plan", str(plan), "--port", "0")
    assert done.returncode == 1
    assert f"{plan}:3:1" in done.stderr
    assert "events" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_column_is_one_clear_message(shop: Any, tmp_path: Path, cli: Cli) -> None:
    """The columns that are there are named."""
    file = tmp_path / "events.csv"
    file.write_text("who,what\nu1,Page Viewed\n")
    done = cli("send", str(file), "--endpoint", shop.http, "--map", "user_id=user,event=what")
    assert done.returncode != 0
    assert "'user'" in done.stderr
    assert "who" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_broken_line_is_reported_and_the_rest_goes_on(
    start_server: Any, tmp_path: Path, cli: Cli, wait_for_rows: Any
) -> None:
    """Line numbers of the broken ones, a non-zero exit, and every good line stored."""
    server = start_server(tmp_path / "data")
    good = [json.dumps({"user_id": f"u{n}", "event": "Thing Done"}) for n in range(20)]
    file = tmp_path / "events.jsonl"
    file.write_text("\n".join([*good[:10], '{"user_id": "u', *good[10:]]) + "\n")
    done = cli("send", str(file), "--endpoint", server.http)
    assert done.returncode == 1
    assert "11" in done.stderr
    assert "Traceback" not in done.stderr
    wait_for_rows(server.data, events=20)
