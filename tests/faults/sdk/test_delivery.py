"""A collector that is away, slow, full or broken: sent = delivered + queued + losses, losses 0."""

from __future__ import annotations

import base64
import logging
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from capturing import Capture, Handler, collector, wait_until

from desirepath._queue import Queue


def balance(tracker: Any, server: Capture, tracked: int) -> None:
    """Everything arrived, and the books say so."""
    assert tracker.flush(timeout=20)
    stats = tracker.stats()
    assert (stats.tracked, stats.delivered, stats.queued, stats.lost) == (tracked, tracked, 0, {})
    assert len(server.ids()) == tracked


def test_the_server_is_away_and_comes_back(
    make_tracker: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Down for 1.5 s, 2,000 events.

    Run once by hand with 20,000 at 2,000 a second, the first 5 s without a server: all of them
    delivered, none twice, none lost.
    """
    with collector() as first:
        port = first.port
    from desirepath import Tracker

    server = Capture()
    with (
        caplog.at_level(logging.WARNING, "desirepath"),
        Tracker(
            f"http://127.0.0.1:{port}", queue_dir=tmp_path / "queue", flush_interval_s=0.05
        ) as tracker,
    ):
        for n in range(2000):
            tracker.track("A", {"n": n}, user_id="u")
        time.sleep(1.5)
        assert tracker.stats().queued == 2000
        with collector(port, server):
            balance(tracker, server, 2000)
    texts = [record.message for record in caplog.records]
    assert len([text for text in texts if "delivery fails" in text]) == 1
    assert len([text for text in texts if "works again" in text]) == 1


def flaky(answer: Any, times: int) -> Any:
    left = [times]

    def fault(handler: Handler, events: list[dict[str, Any]]) -> bool:
        if left[0] <= 0:
            return False
        left[0] -= 1
        answer(handler)
        return True

    return fault


def half_an_answer(handler: Handler) -> None:
    handler.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"success": tr')
    handler.wfile.flush()
    handler.close_connection = True


def rubbish(handler: Handler) -> None:
    handler.wfile.write(b"\x00\xff not HTTP at all\r\n\r\n")
    handler.wfile.flush()
    handler.close_connection = True


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda h: h.answer(500, {}), id="500"),
        pytest.param(lambda h: h.answer(503, {"error": {"message": "full"}}), id="503"),
        pytest.param(lambda h: h.reset(), id="reset"),
        pytest.param(half_an_answer, id="half an answer"),
        pytest.param(rubbish, id="rubbish"),
        pytest.param(lambda h: h.answer(200, {"success": False}), id="success false"),
        pytest.param(lambda h: time.sleep(0.6), id="a hang"),
    ],
)
def test_a_failing_answer_costs_nothing(make_tracker: Any, server: Capture, answer: Any) -> None:
    server.fault = flaky(answer, 3)
    tracker = make_tracker(timeout_s=0.3)
    for n in range(1200):
        tracker.track("A", {"n": n}, user_id="u")
    balance(tracker, server, 1200)
    assert tracker.stats().retries == 3


def test_a_reset_in_the_middle_of_the_body(make_tracker: Any, server: Capture) -> None:
    """The connection dies before the body was read: nothing is known to have arrived."""
    original = Handler.do_POST
    left = [3]

    def cut(handler: Handler) -> None:
        if left[0] > 0:
            left[0] -= 1
            handler.rfile.read(10)
            handler.reset()
            return
        original(handler)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Handler, "do_POST", cut)
        tracker = make_tracker(gzip=False)
        for n in range(1000):
            tracker.track("A", {"text": "x" * 500, "n": n}, user_id="u")
        balance(tracker, server, 1000)


def test_closing_tries_once_more_and_does_not_hammer(make_tracker: Any, server: Capture) -> None:
    """A server that is back is used at once; one that is not is left alone."""
    server.fault = lambda handler, events: handler.answer(500, {}, Retry_After="60") or True
    tracker = make_tracker()
    tracker.track("A", user_id="u")
    wait_until(lambda: server.requests == 1)
    before = time.monotonic()
    tracker.close(timeout=5)
    assert time.monotonic() - before < 2, "asked to wait for a minute: closing is of no use"
    assert server.requests == 1
    server.fault = lambda handler, events: handler.answer(500, {}) or True
    tracker = make_tracker()
    assert not tracker.flush(timeout=1.0)
    requests = server.requests
    tracker.close(timeout=1.0)
    assert server.requests - requests < 10
    tracker = make_tracker()
    assert not tracker.flush(timeout=3.0)
    server.fault = None
    tracker.close(timeout=5)
    assert len(server.ids()) == 1


def test_retry_after_is_obeyed(make_tracker: Any, server: Capture) -> None:
    times: list[float] = []

    def fault(handler: Handler, events: list[dict[str, Any]]) -> bool:
        times.append(time.monotonic())
        if len(times) == 1:
            handler.answer(429, {"error": {"message": "slower"}}, Retry_After="1")
            return True
        return False

    server.fault = fault
    tracker = make_tracker()
    for n in range(100):
        tracker.track("A", {"n": n}, user_id="u")
    balance(tracker, server, 100)
    assert times[1] - times[0] >= 1.0, "also while somebody waits in flush()"


def test_a_body_limit_is_found_by_halving(make_tracker: Any, server: Capture) -> None:
    def fault(handler: Handler, events: list[dict[str, Any]]) -> bool:
        if len(events) > 60:
            handler.answer(413, {"error": {"message": "too much"}})
            return True
        return False

    server.fault = fault
    tracker = make_tracker()
    for n in range(1000):
        tracker.track("A", {"n": n}, user_id="u")
    balance(tracker, server, 1000)
    assert max(server.batches) <= 60


@pytest.mark.parametrize(("status", "reason"), [(400, "malformed"), (413, "too_large")])
def test_one_poisonous_event_is_buried_and_the_rest_goes_on(
    make_tracker: Any, server: Capture, tmp_path: Path, status: int, reason: str
) -> None:
    def fault(handler: Handler, events: list[dict[str, Any]]) -> bool:
        if any(event["event"] == "poison" for event in events):
            handler.answer(status, {"error": {"message": "no"}})
            return True
        return False

    server.fault = fault
    losses: list[tuple[str, int]] = []
    tracker = make_tracker(on_loss=lambda reason, events: losses.append((reason, events)))
    for n in range(700):
        tracker.track("poison" if n == 333 else "A", {"n": n}, user_id="u")
    assert tracker.flush(timeout=20)
    stats = tracker.stats()
    assert (stats.delivered, stats.queued, stats.lost) == (699, 0, {reason: 1})
    assert losses == [(reason, 1)]
    (letters,) = (tmp_path / "queue").rglob("dead-letter.jsonl")
    assert '"poison"' in letters.read_text()


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_keeps_everything(make_tracker: Any, server: Capture, status: int) -> None:
    server.fault = lambda handler, events: handler.answer(status, {}) or True
    tracker = make_tracker()
    tracker.track("A", user_id="u")
    assert not tracker.flush(timeout=0.5)
    stats = tracker.stats()
    assert (stats.queued, stats.lost) == (1, {})


def test_what_waits_under_a_refused_key_goes_under_the_next(
    make_tracker: Any, server: Capture, caplog: pytest.LogCaptureFixture
) -> None:
    """Not while a living process uses the key, and nothing of a key that was never refused."""

    def fault(handler: Handler, events: list[dict[str, Any]]) -> bool:
        login = base64.b64decode(handler.headers["Authorization"].split()[1])
        if login != b"right:":
            handler.answer(503 if login == b"other:" else 401, {})
            return True
        return False

    server.fault = fault
    other = make_tracker(write_key="other")
    wrong = [make_tracker(write_key="wrong"), make_tracker(write_key="wrong")]
    for tracker in (other, *wrong):
        for n in range(50):
            tracker.track("A", {"n": n}, user_id="u")
        assert not tracker.flush(timeout=0.3)
    other.close(timeout=0.0)
    wrong[0].close(timeout=0.0)
    still_wrong = make_tracker(write_key="wrong too")
    still_wrong.track("A", user_id="u")
    assert not still_wrong.flush(timeout=0.3)
    assert still_wrong.stats().queued == 1, "a living process uses the key"
    still_wrong.close(timeout=0.0)
    right = make_tracker(write_key="right")
    right.track("B", user_id="u")
    balance(right, server, 2)
    wrong[1].close(timeout=0.0)
    balance(right, server, 102)
    assert len([one for one in caplog.records if "a refused write key" in one.message]) == 1
    server.fault = None
    assert make_tracker(write_key="other").flush(timeout=10)
    assert len(server.ids()) == 152


def test_a_purge_without_room_loses_nothing(tmp_path: Path) -> None:
    """Disk and memory are full: what may stay is not taken out before it is put again."""
    queue = Queue(
        tmp_path / "queue",
        endpoint="http://here",
        max_bytes=2_000,
        memory_bytes=1_000,
        on_trouble=lambda text: None,
        on_note=lambda kind, text: None,
        on_lost=lambda reason, records, why: None,
    )
    records = [b"%s %04d %s" % (b"ad" if n % 5 == 3 else b"ok", n, b"x" * 80) for n in range(60)]
    kept = [record for record in records if queue.put(record)]
    assert 20 < len(kept) < 50
    assert queue.memory_records > 5
    purged = queue.purge(lambda record: record.startswith(b"ad"))
    left: list[bytes] = []
    while (take := queue.peek(7, 1 << 20)).records:
        left += take.records
        queue.done(take)
    wanted = sorted(record for record in kept if record.startswith(b"ok"))
    assert sorted(record for record in left if record.startswith(b"ok")) == wanted
    assert len(left) + purged == len(kept)
    assert queue.taken == len(records), "with those that were refused for want of room"
    queue.close()


def test_a_page_of_somebody_else_is_no_receipt(make_tracker: Any, server: Capture) -> None:
    """A captive portal answers 200 to everything."""

    def portal(handler: Handler, events: list[dict[str, Any]]) -> bool:
        handler.send_response(200)
        handler.send_header("Content-Length", "13")
        handler.end_headers()
        handler.wfile.write(b"<h1>Hello</h1"[:13])
        handler.wfile.flush()
        return True

    server.fault = portal
    tracker = make_tracker()
    tracker.track("A", user_id="u")
    assert not tracker.flush(timeout=0.5)
    server.fault = None
    balance(tracker, server, 1)


def test_what_the_collector_sets_aside_is_counted_and_said(
    make_tracker: Any, server: Capture, caplog: pytest.LogCaptureFixture
) -> None:
    def fault(handler: Handler, events: list[dict[str, Any]]) -> bool:
        server.events += events
        violation = {"code": "type", "pointer": "/properties/total", "expected": "", "found": ""}
        aside = [{"index": 0, "messageId": events[0]["messageId"], "violations": [violation]}]
        handler.answer(200, {"success": True, "accepted": len(events) - 1, "quarantined": aside})
        return True

    server.fault = fault
    tracker = make_tracker()
    with caplog.at_level(logging.WARNING, "desirepath"):
        for _ in range(3):
            tracker.track("A", user_id="u")
        balance(tracker, server, 3)
    assert tracker.stats().quarantined == 1
    assert "set an event aside: /properties/total: type" in caplog.text


def test_tracking_never_waits_for_the_network(make_tracker: Any, server: Capture) -> None:
    server.fault = lambda handler, events: time.sleep(1) or True
    tracker = make_tracker(timeout_s=5.0)
    worst = 0.0
    until = time.monotonic() + 0.7
    while time.monotonic() < until:
        before = time.perf_counter()
        tracker.track("A", user_id="u")
        worst = max(worst, time.perf_counter() - before)
        time.sleep(0.0005)
    assert worst < 0.2
    names = [thread.name for thread in threading.enumerate()]
    assert names.count("desirepath-sender") == 1
    server.fault = None
    assert tracker.flush(timeout=10)


def test_an_answer_that_drips_does_not_hold_the_sender(make_tracker: Any, server: Capture) -> None:
    def drip(handler: Handler, events: list[dict[str, Any]]) -> bool:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")
        for _ in range(40):
            handler.wfile.write(b"{")
            handler.wfile.flush()
            time.sleep(0.1)
        return True

    server.fault = drip
    tracker = make_tracker(timeout_s=0.3)
    tracker.track("A", user_id="u")
    wait_until(lambda: tracker.stats().retries > 0, timeout_s=2.0)
    server.fault = None
    balance(tracker, server, 1)
