"""What an app may get wrong, or must not show: an event is kept, and no secret is told."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from capturing import Capture

from desirepath import Tracker
from desirepath.errors import SettingsError


def odd_times() -> list[Any]:
    found: list[Any] = [date(2026, 1, 1), 1_767_225_600, object()]
    numpy, pandas = pytest.importorskip("numpy"), pytest.importorskip("pandas")
    return [*found, numpy.datetime64("2026-01-01"), pandas.NaT]


def test_an_odd_time_or_context_does_not_cost_the_event(make_tracker: Any, server: Capture) -> None:
    import pandas

    @dataclass
    class Order:
        total: int = 1

    tracker = make_tracker()
    times = odd_times()
    for moment in times:
        tracker.track("A", user_id="u", timestamp=moment)
    tracker.track("A", user_id="u", context=["x"])
    tracker.track("A", pandas.Series([1, 2]), user_id="u")
    tracker.page("A", pandas.Series([1, 2]), user_id="u")
    tracker.track("B", Order(), user_id="u")
    assert tracker.flush()
    stats = tracker.stats()
    assert (stats.lost, stats.delivered) == ({}, len(times) + 4)
    assert stats.violations == {"type": len(times) + 3}
    assert all(datetime.fromisoformat(event["timestamp"]).tzinfo for event in server.events)
    assert server.named("B")[0]["properties"] == {"total": 1}


def test_no_value_is_shown_in_the_log(make_tracker: Any, caplog: pytest.LogCaptureFixture) -> None:
    class Email:
        def __repr__(self) -> str:
            return "SECRET"

    tracker = make_tracker()
    born = datetime(1989, 9, 9)
    with caplog.at_level(logging.WARNING, "desirepath"):
        properties = {"a": Email(), "b": born, "c": "SECRET\ud800"}
        tracker.track("A", properties, user_id="u", timestamp=born)
        tracker.track("A", "SECRET", user_id="u")
    assert "breaks its plan" in caplog.text
    assert "SECRET" not in caplog.text
    assert "1989" not in caplog.text


def test_a_hook_sees_exact_numbers_and_must_return_a_message(
    make_tracker: Any, server: Capture
) -> None:
    seen: list[Any] = []

    def hook(message: dict[str, Any]) -> Any:
        seen.append(message["properties"].get("n"))
        return message if message["event"] == "A" else "A"

    tracker = make_tracker(before_send=hook)
    tracker.track("A", {"n": Decimal("0.12345678901234567891")}, user_id="u")
    tracker.track("A", {"n": 1.5}, user_id="u")
    tracker.track("odd", user_id="u")
    assert tracker.flush()
    assert seen == [Decimal("0.12345678901234567891"), 1.5, None]
    assert type(seen[1]) is float
    assert len(server.events) == 2
    assert tracker.stats().lost == {"error": 1}


@pytest.mark.parametrize("refusal", ["disabled", "opt_out", "consent", "scope"])
def test_who_said_no_gets_no_lasting_id(make_tracker: Any, tmp_path: Path, refusal: str) -> None:
    tracker = make_tracker(enabled=refusal != "disabled")
    if refusal == "opt_out":
        tracker.opt_out()
    if refusal == "consent":
        tracker.consent(analytics=False)
    with tracker.context(consent={"analytics": refusal != "scope"}):
        tracker.track("A")
    assert not list(tmp_path.rglob("anonymous_id*"))
    assert sum(tracker.stats().discarded.values()) == 1


def test_no_secret_is_shown(tmp_path: Path) -> None:
    with Tracker("http://me:SECRET@127.0.0.1:9", queue_dir=tmp_path) as tracker:
        assert repr(tracker) == "Tracker('http://***@127.0.0.1:9', queued=0)"
    wrong: list[dict[str, Any]] = [
        {"write_key": b"SECRET"},
        {"endpoint": "htp://me:SECRET@host"},
        {"endpoint": "me:SECRET@host"},
        {"endpoint": b"http://me:SECRET@host"},
    ]
    for settings in wrong:
        with pytest.raises(SettingsError) as caught:
            Tracker(**settings)
        assert "SECRET" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize("name", ["timeout_s", "exit_timeout_s", "flush_interval_s"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_times_are_finite(name: str, value: float) -> None:
    settings: dict[str, Any] = {name: value}
    with pytest.raises(SettingsError, match=name):
        Tracker(**settings)
