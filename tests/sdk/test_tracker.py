"""What the calls of the tracker put on the wire."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import re
import uuid
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from capturing import Capture, wait_until

from desirepath import Plan, Tracker
from desirepath.errors import PlanError, SettingsError, ViolationError

PLAN = """
plan: test
version: 1.2.3
defaults: {on_violation: reject, unplanned_events: reject, unplanned_properties: reject}
traits: {email: {type: string, pii: hash}}
events:
  Paid: {properties: {total: {type: number, required: true}, note: string}}
"""


def test_the_six_calls_as_segment_specifies_them(make_tracker: Any, server: Capture) -> None:
    tracker = make_tracker()
    who = {"user_id": "u1", "anonymous_id": "a1"}
    tracker.track("Paid", {"total": 1.5}, **who)
    tracker.identify("u1", {"plan": "pro"}, anonymous_id="a1")
    tracker.page("Home", {"path": "/"}, category="Main", **who)
    tracker.screen("Start", user_id="u1")
    tracker.group("g1", {"name": "Acme"}, user_id="u1")
    tracker.alias("old", "u1")
    assert tracker.flush()
    track, identify, page, screen, group, alias = server.events
    assert {**track, "messageId": 0, "timestamp": 0} == {
        "type": "track",
        "event": "Paid",
        "userId": "u1",
        "anonymousId": "a1",
        "properties": {"total": 1.5},
        "context": {"library": {"name": "desirepath-python", "version": "0.1.0"}},
        "messageId": 0,
        "timestamp": 0,
    }
    assert uuid.UUID(track["messageId"]).version == 7
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", track["timestamp"])
    assert (identify["type"], identify["traits"]) == ("identify", {"plan": "pro"})
    assert page["name"] == "Home"
    assert page["properties"] == {"name": "Home", "category": "Main", "path": "/"}
    assert (screen["type"], screen["name"]) == ("screen", "Start")
    assert (group["groupId"], group["traits"]) == ("g1", {"name": "Acme"})
    assert (alias["previousId"], alias["userId"]) == ("old", "u1")
    assert server.headers[0]["Authorization"] == "Basic ZGV2Og=="


def test_somebody_is_always_named(make_tracker: Any, server: Capture) -> None:
    make_tracker().track("A")
    tracker = make_tracker()
    tracker.track("A")
    tracker.track("A", user_id="u1")
    assert tracker.flush()
    wait_until(lambda: len(server.events) == 3)
    nameless = [event for event in server.events if "userId" not in event]
    assert len(nameless) == 2
    assert len({event["anonymousId"] for event in nameless}) == 1, "one installation, one id"
    assert "anonymousId" not in next(event for event in server.events if "userId" in event)


def test_own_ids_and_times(make_tracker: Any, server: Capture) -> None:
    tracker = make_tracker()
    zone = timezone(timedelta(hours=2))
    tracker.track("A", user_id="u", message_id="m-1", timestamp=datetime(2026, 1, 1, tzinfo=zone))
    tracker.track("A", user_id="u", timestamp="2026-01-01T00:00:00.5Z")
    tracker.track("A", user_id=7, timestamp=datetime(2026, 1, 1))
    assert tracker.flush()
    assert server.events[0]["messageId"] == "m-1"
    assert [event["timestamp"] for event in server.events] == [
        "2025-12-31T22:00:00.000Z",
        "2026-01-01T00:00:00.5Z",
        "2026-01-01T00:00:00.000Z",
    ]
    assert server.events[2]["userId"] == "7"
    assert tracker.stats().violations == {"format": 1}, "a time without its zone"


def test_context_blocks_nest_and_super_properties_lie_below(
    make_tracker: Any, server: Capture
) -> None:
    tracker = make_tracker(app_context={"app": {"name": "shop"}})
    tracker.register({"store": "north", "total": 0})
    with tracker.context(user_id="u1", session_id="s1", locale="sv", properties={"till": 1}):
        with tracker.context(anonymous_id="a1", locale="nl"):
            tracker.track("A", {"total": 2}, context={"ip": "::1"})
        tracker.track("B", user_id="u2")
    tracker.unregister("store")
    tracker.track("C", user_id="u3")
    tracker.unregister()
    tracker.track("D", user_id="u3")
    assert tracker.flush()
    a, b, c, d = server.events
    assert (a["userId"], a["anonymousId"]) == ("u1", "a1")
    assert a["properties"] == {"store": "north", "total": 2, "till": 1}
    assert {key: value for key, value in a["context"].items() if key != "library"} == {
        "app": {"name": "shop"},
        "sessionId": "s1",
        "locale": "nl",
        "ip": "::1",
    }
    assert (b["userId"], b["context"]["locale"]) == ("u2", "sv")
    assert c["properties"] == {"total": 0}
    assert d["properties"] == {}
    assert "locale" not in c["context"]


async def test_context_follows_its_task(make_tracker: Any, server: Capture) -> None:
    tracker = make_tracker()

    async def visit(user: str) -> None:
        with tracker.context(user_id=user):
            await asyncio.sleep(0.01)
            tracker.track(user)

    await asyncio.gather(*(visit(f"u{n}") for n in range(20)))
    assert await tracker.aflush()
    assert len(server.events) == 20
    assert all(event["userId"] == event["event"] for event in server.events)


async def test_an_event_loop_is_never_blocked(make_tracker: Any, server: Capture) -> None:
    server.fault = lambda handler, events: True  # hangs: no answer at all
    tracker = make_tracker(timeout_s=0.5)
    tracker.track("A", user_id="u")
    before = asyncio.get_running_loop().time()
    assert tracker.flush(timeout=5) is False
    assert await tracker.aflush(timeout=0.1) is False
    tracker.close()
    assert asyncio.get_running_loop().time() - before < 0.4


def test_what_breaks_the_plan_is_reported_once_a_kind_and_still_sent(
    make_tracker: Any, server: Capture, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = make_tracker(plan=Plan.parse(PLAN), pii_key=b"0123456789abcdef")
    with caplog.at_level(logging.WARNING, "desirepath"):
        for _ in range(3):
            tracker.track("Paid", {"total": "much"}, user_id="u")
        tracker.track("Paid", {"total": 1}, user_id="u")
        tracker.track("Payed", {"total": 1}, user_id="u")
    assert [record.message for record in caplog.records] == [
        "desirepath: 'Paid' breaks its plan: /properties/total: type, expected number,"
        ' found "much"',
        "desirepath: 'Payed' breaks its plan: /event: unplanned_event, expected a planned event,"
        ' found "Payed"',
    ]
    assert tracker.flush()
    assert len(server.events) == 5
    assert server.events[0]["context"]["plan"] == "test@1.2.3"
    assert tracker.stats().violations == {"type": 3, "unplanned_event": 1}


def test_on_violation_raise_tells_the_caller_and_sends_nothing(
    make_tracker: Any, server: Capture
) -> None:
    tracker = make_tracker(plan=Plan.parse(PLAN), on_violation="raise")
    with pytest.raises(ViolationError, match="/properties/total: missing"):
        tracker.track("Paid", {"note": "x"}, user_id="u")
    with pytest.raises(ViolationError):
        tracker.track("Paid", {"total": float("nan")}, user_id="u")
    tracker.track("Paid", {"total": 2}, user_id="u")
    assert tracker.flush()
    assert len(server.events) == 1


def test_with_the_key_personal_values_are_hashed_before_they_are_kept(
    make_tracker: Any, server: Capture
) -> None:
    tracker = make_tracker(plan=Plan.parse(PLAN), pii_key=b"0123456789abcdef")
    tracker.identify("u1", {"email": "a@b.example"})
    assert tracker.flush()
    assert re.fullmatch("[0-9a-f]{64}", server.events[0]["traits"]["email"])


PERSONAL = """
plan: test
version: 1.0.0
defaults: {on_violation: drop, unplanned_events: drop, unplanned_properties: drop}
context: {ip: {type: string, pii: drop}}
traits: {email: {type: string, pii: hash}, phone: {type: string, pii: drop}, age: integer}
events:
  Paid: {properties: {total: number, card: {type: string, pii: drop}}}
  Page Viewed: {properties: {name: {type: string, pii: drop}}}
"""


@pytest.mark.parametrize("key", [None, "0123456789abcdef"])
def test_no_personal_value_reaches_the_disk(
    make_tracker: Any,
    server: Capture,
    tmp_path: Any,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    key: str | None,
) -> None:
    """Not the queue, not the dead letters; what only breaks the plan is left to the collector."""
    if key is not None:
        monkeypatch.setenv("DESIREPATH_PII_KEY", key)

    def hook(message: dict[str, Any]) -> dict[str, Any]:
        message["context"]["ip"] = "SECRET"
        root = "traits" if message["type"] == "identify" else "properties"
        return {**message, root: {**message[root], "phone": "SECRET"}}

    server.fault = lambda handler, events: handler.answer(400, {}) or True
    for settings in ({}, {"before_send": hook}):
        tracker = make_tracker(
            plan=Plan.parse(PERSONAL),
            app_context={"traits": {"email": "SECRET", "age": 1.25}},
            flush_interval_s=30.0,
            **settings,
        )
        tracker.identify("u1", {"email": "SECRET", "phone": "SECRET", "age": "old"})
        tracker.track(
            "Paid",
            {"total": "much", "card": "SECRET", "email": "SECRET", "more": 1},
            user_id="u1",
            context={"ip": "SECRET", "traits": {"phone": "SECRET", "x": [1]}},
        )
        tracker.track("Unplanned", {"card": "SECRET", "n": 1}, user_id="u1")
        tracker.track("Paid", user_id="u1", context={"traits": "SECRET"})
        tracker.page("SECRET", user_id="u1")
        queued = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        assert (b"Unplanned" in queued, b"SECRET" in queued) == (True, False)
        assert tracker.flush()
    (letters,) = tmp_path.rglob("dead-letter.jsonl")
    assert "SECRET" not in letters.read_text()
    identify, paid, unplanned, *_ = map(json.loads, letters.read_text().splitlines())
    hashed = hmac.digest(key.encode(), b"SECRET", "sha256").hex() if key else "[pii]"
    assert identify["traits"] == {"email": hashed, "age": "old"}
    assert identify["context"]["traits"] == {"email": hashed, "age": 1.25}
    assert paid["properties"] == {"total": "much", "email": hashed, "more": 1}
    assert paid["context"]["traits"] == {"x": [1]}
    assert unplanned["properties"] == {"n": 1}
    said = [one.message for one in caplog.records if "DESIREPATH_PII_KEY" in one.message]
    assert len(said) == (0 if key else 2), "once for each tracker"


def test_typed_events(make_tracker: Any, server: Capture) -> None:
    class Paid:
        __event__ = "Paid"

        def to_properties(self) -> dict[str, Any]:
            return {"total": 3}

    tracker = make_tracker()
    tracker.track(Paid(), user_id="u")
    assert tracker.flush()
    assert (server.events[0]["event"], server.events[0]["properties"]) == ("Paid", {"total": 3})


@pytest.mark.parametrize("event", [None, 7, object(), b"x"])
def test_a_callers_mistake_is_counted_not_raised(make_tracker: Any, event: Any) -> None:
    losses: list[tuple[str, int]] = []
    tracker = make_tracker(on_loss=lambda reason, events: losses.append((reason, events)))
    tracker.track(event, {"a": 1})
    tracker.track("A", "no mapping", user_id="u")
    assert losses == [("error", 1)]
    assert tracker.stats().lost == {"error": 1}


def test_settings_come_from_arguments_then_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("DESIREPATH_ENDPOINT", "http://elsewhere:1")
    monkeypatch.setenv("DESIREPATH_BATCH_EVENTS", "7")
    monkeypatch.setenv("DESIREPATH_QUEUE_DIR", str(tmp_path))
    with Tracker(gzip=False) as tracker:
        assert "http://elsewhere:1" in repr(tracker)
        assert tracker._settings.batch_events == 7
        assert tracker._settings.gzip is False
        assert "***" in repr(tracker._settings)
    monkeypatch.setenv("DESIREPATH_BATCH_EVENTS", "many")
    with pytest.raises(SettingsError, match="DESIREPATH_BATCH_EVENTS"):
        Tracker()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"endpoint": "localhost:8000"}, "not an http or https URL"),
        ({"on_violation": "explode"}, "on_violation"),
        ({"batch_events": 0}, "batch_events"),
        ({"sampling": {"A": 2}}, "sampling rate of 'A'"),
        ({"plan": 7}, "neither a Plan nor"),
    ],
)
def test_a_wrong_setting_says_so_at_once(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        Tracker(**settings)


def test_a_plan_that_is_wrong_says_so_at_once(tmp_path: Any) -> None:
    (tmp_path / "plan.yaml").write_text("plan: [")
    with pytest.raises(PlanError):
        Tracker(plan=tmp_path / "plan.yaml")


def test_before_send_may_change_or_discard(make_tracker: Any, server: Capture) -> None:
    def hook(message: dict[str, Any]) -> dict[str, Any] | None:
        if message["event"] == "secret":
            return None
        if message["event"] == "broken":
            raise RuntimeError
        message["properties"]["seen"] = datetime(2026, 1, 1, tzinfo=UTC)
        return message

    tracker = make_tracker(before_send=hook)
    for event in ("secret", "plain", "broken"):
        tracker.track(event, user_id="u")
    assert tracker.flush()
    (event,) = server.events
    assert event["properties"] == {"seen": "2026-01-01T00:00:00Z"}
    stats = tracker.stats()
    assert (stats.discarded, stats.lost) == ({"before_send": 1}, {"error": 1})


def test_sampling_keeps_or_drops_a_person_as_a_whole(make_tracker: Any, server: Capture) -> None:
    tracker = make_tracker(sampling={"Scrolled": 0.25})
    for _ in range(3):
        for n in range(400):
            tracker.track("Scrolled", user_id=f"u{n}")
    tracker.track("Paid", user_id="u1")
    assert tracker.flush()
    people = [event["userId"] for event in server.named("Scrolled")]
    assert 60 < len(set(people)) < 140
    assert len(people) == 3 * len(set(people))
    assert len(server.named("Paid")) == 1


def test_consent_by_purpose_also_for_what_waits(make_tracker: Any, server: Capture) -> None:
    tracker = make_tracker(purposes={"Ad Seen": "marketing"}, flush_interval_s=30.0)
    tracker.track("Ad Seen", user_id="u1")
    tracker.track("Paid", user_id="u1")
    tracker.consent(marketing=False)
    tracker.track("Ad Seen", user_id="u1")
    with tracker.context(consent={"analytics": False}):
        tracker.track("Paid", user_id="u2")
    assert tracker.flush()
    tracker.consent(marketing=True)
    tracker.track("Ad Seen", user_id="u3")
    assert tracker.flush()
    assert [(event["event"], event["userId"]) for event in server.events] == [
        ("Paid", "u1"),
        ("Ad Seen", "u3"),
    ]
    stats = tracker.stats()
    assert stats.discarded == {"consent": 3}
    assert (stats.queued, stats.lost) == (0, {})


def test_opting_out_discards_what_waits(make_tracker: Any, server: Capture) -> None:
    tracker = make_tracker(flush_interval_s=30.0)
    tracker.track("A", user_id="u")
    tracker.opt_out()
    tracker.track("B", user_id="u")
    assert tracker.flush()
    assert (server.events, tracker.stats().queued) == ([], 0)
    tracker.opt_in()
    tracker.track("C", user_id="u")
    assert tracker.flush()
    assert [event["event"] for event in server.events] == ["C"]


def test_a_disabled_tracker_does_nothing(make_tracker: Any, server: Capture) -> None:
    tracker = make_tracker(enabled=False)
    tracker.track("A", user_id="u")
    assert tracker.flush(timeout=0.2)
    assert server.requests == 0


def test_sessions_end_with_a_pause(
    make_tracker: Any, server: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import desirepath._sessions as sessions

    now = 0.0
    monkeypatch.setattr(sessions.time, "monotonic", lambda: now)
    tracked = sessions.Sessions(1800)
    first = tracked.of("u1")
    now = 1700.0
    assert tracked.of("u1") == first
    assert tracked.of("u2") != first
    now = 3400.0
    assert tracked.of("u1") == first
    now = 5300.0
    assert tracked.of("u1") != first
    monkeypatch.undo()
    tracker = make_tracker(session_timeout_s=1800)
    tracker.track("A", user_id="u")
    tracker.track("B", user_id="u")
    assert tracker.flush()
    assert len({event["context"]["sessionId"] for event in server.events}) == 1


def test_bodies_are_compressed_except_for_this_machine(make_tracker: Any, server: Capture) -> None:
    for gzip in (None, True):
        tracker = make_tracker(gzip=gzip)
        tracker.track("A", {"text": "x" * 2000}, user_id="u")
        assert tracker.flush()
    assert [headers.get("Content-Encoding") for headers in server.headers] == [None, "gzip"]
    assert make_tracker("https://collector.example")._pipeline.sender._transport._gzip


def test_after_close_a_call_is_a_counted_loss(make_tracker: Any) -> None:
    tracker = make_tracker()
    tracker.close()
    tracker.close()
    tracker.track("A", user_id="u")
    assert tracker.stats().lost == {"closed": 1}
    assert tracker.flush(timeout=0.1)
