"""Forks, signals, neighbours and ends that come at the worst moment."""

from __future__ import annotations

import asyncio
import logging
import signal
import textwrap
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest
from capturing import Capture, last_json, wait_until

App = Callable[..., Popen[str]]


def test_a_fork_while_the_sender_imports(
    app: App, server: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child waits until the module is whole, and delivers."""
    slow = tmp_path / "slow"
    slow.mkdir()
    # One of the modules that urllib3 does without where they are not installed.
    (slow / "brotlicffi.py").write_text(
        textwrap.dedent(
            """
            import os, time
            open(os.environ["IMPORTING"], "w").close()
            time.sleep(0.5)
            raise ImportError
            """
        )
    )
    monkeypatch.setenv("PYTHONPATH", str(slow))
    monkeypatch.setenv("IMPORTING", str(tmp_path / "importing"))
    process = app(
        """
        tracker = make(flush_interval_s=0.0)
        tracker.track("A", user_id="u")
        while not os.path.exists(os.environ["IMPORTING"]):
            time.sleep(0.001)
        child = os.fork()
        if child == 0:
            tracker.track("B", user_id="u")
            os._exit(0 if tracker.flush(timeout=5) else 1)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps([code, tracker.flush(timeout=10)]), flush=True)
        """
    )
    assert last_json(process) == [0, True]
    assert (len(server.named("A")), len(server.named("B"))) == (1, 1)


def test_a_neighbour_that_cannot_be_opened(
    app: App, server: Capture, make_tracker: Any, tmp_path: Path
) -> None:
    """It is nobody's business: our own disk is well, and so events go to it."""
    process = app(
        """
        tracker = make(flush_interval_s=60.0)
        tracker._pipeline.folder.mkdir(parents=True)
        (tracker._pipeline.folder / "999-deadbeef" / "lock").mkdir(parents=True)
        tracker.track("A", user_id="u")
        while not tracker._pipeline.sender._looked:
            time.sleep(0.01)
        for n in range(50):
            tracker.track("A", user_id="u")
        print(flush=True)
        time.sleep(30)
        """
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert make_tracker().flush(timeout=10)
    assert len(server.ids()) == 51


def test_sessions_and_a_signal_handler(app: App, server: Capture) -> None:
    """A handler may track in the middle of a call that looks a session up: no deadlock."""
    process = app(
        """
        import faulthandler
        faulthandler.dump_traceback_later(20, exit=True)
        tracker = make(session_timeout_s=1800.0)
        count = [0]
        def tick(*_):
            count[0] += 1
            tracker.track("tick", user_id="u")
        signal.signal(signal.SIGALRM, tick)
        signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            tracker.track("A", user_id="u")
            count[0] += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(json.dumps([tracker.flush(timeout=15), count[0]]), flush=True)
        """
    )
    flushed, count = last_json(process)
    assert flushed
    assert abs(len(server.ids()) - count) <= 1, "a tick may come inside the count"
    assert len({event["context"]["sessionId"] for event in server.events}) <= 2


@pytest.mark.parametrize("event", [None, [1], "other"])
def test_an_odd_message_of_a_hook_does_not_stop_the_sender(
    make_tracker: Any, server: Capture, event: Any
) -> None:
    def hook(message: dict[str, Any]) -> dict[str, Any]:
        return {**message, "event": event} if message["event"] == "odd" else message

    tracker = make_tracker(before_send=hook, purposes={"track": "analytics"})
    tracker.consent(marketing=False)
    for name in ("A", "odd", "A"):
        tracker.track(name, user_id="u")
    assert tracker.flush(timeout=5)
    assert tracker.stats().delivered == 3


def test_a_failure_of_our_own_does_not_stop_the_sender(
    make_tracker: Any, server: Capture, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = make_tracker()
    post = tracker._pipeline.sender._transport.post
    left = [2]

    def failing(records: list[bytes]) -> Any:
        if left[0]:
            left[0] -= 1
            raise LookupError("unknown encoding: idna")
        return post(records)

    tracker._pipeline.sender._transport.post = failing
    tracker.track("A", user_id="u")
    assert tracker.flush(timeout=5)
    assert (tracker.stats().delivered, tracker.stats().retries) == (1, 2)
    assert len([one for one in caplog.records if one.message.endswith("a request failed")]) == 1


def test_closing_at_once_is_quiet(
    make_tracker: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "desirepath"):
        for number in range(50):
            tracker = make_tracker(flush_interval_s=0.0, queue_dir=tmp_path / str(number))
            tracker.track("A", user_id="u")
            tracker.close(0)
    assert "failed" not in caplog.text


def test_events_after_the_sdks_own_end_wait_on_disk(app: App, server: Capture) -> None:
    """What ends later than the SDK may still track: the next start delivers it."""
    for number in range(2):
        process = app(
            """
            import atexit
            # Before the first tracker, whose module registers itself when it is imported.
            for each in list(sys.modules):
                if each.partition(".")[0] == "desirepath":
                    del sys.modules[each]
            def late():
                for n in range(10):
                    tracker.track("late", user_id="u")
                print(json.dumps(tracker.stats().lost), flush=True)
            atexit.register(late)
            from desirepath import Tracker
            tracker = make()
            tracker.track("A", user_id="u")
            """
        )
        assert last_json(process) == {}
        assert len(server.named("late")) == 10 * number


async def test_closing_in_an_event_loop_ends(make_tracker: Any, server: Capture) -> None:
    """The sender's thread gives the files back when its time is over."""
    server.fault = lambda handler, events: handler.answer(500, {}) or True
    trackers = [make_tracker() for _ in range(5)]
    for tracker in trackers:
        tracker.track("A", user_id="u")
        tracker.close(0.2)
    for _ in range(500):
        if all(tracker._pipeline._ended for tracker in trackers):
            break
        await asyncio.sleep(0.01)
    server.fault = None
    assert all(tracker.stats().queued and balanced(tracker) for tracker in trackers)
    assert await make_tracker().aflush(5)
    assert len(server.ids()) == 5


def balanced(tracker: Any) -> bool:
    stats = tracker.stats()
    gone = sum(stats.lost.values()) + sum(stats.discarded.values())
    return bool(stats.tracked == stats.delivered + stats.queued + gone)


@pytest.mark.parametrize("queue", ["disk", "memory"])
def test_the_books_balance(make_tracker: Any, server: Capture, queue: str) -> None:
    server.fault = lambda handler, events: handler.answer(500, {}) or True
    tracker = make_tracker(queue=queue, sampling={"rare": 0.0})
    for _ in range(5):
        tracker.track("A", user_id="u")
    tracker.track("rare", user_id="u")
    tracker.track("A", {"text": "x" * 400_000}, user_id="u")
    tracker.track(None, user_id="u")
    assert balanced(tracker)
    tracker.close(0.1)
    tracker.track("A", user_id="u")
    stats = tracker.stats()
    assert (stats.tracked, stats.queued) == (9, 5 if queue == "disk" else 0)
    assert stats.lost.get("memory_at_exit", 0) == 5 - stats.queued
    assert balanced(tracker)
    tracker.close()


def test_what_is_refused_later_leaves_the_disk(
    make_tracker: Any, server: Capture, tmp_path: Path
) -> None:
    server.fault = lambda handler, events: handler.answer(500, {}) or True
    tracker = make_tracker(purposes={"ad": "marketing"})
    for name in ("ad", "A") * 5:
        tracker.track(name, user_id="u")
    tracker.consent(marketing=False)
    wait_until(lambda: tracker.stats().queued == 5)
    wait_until(lambda: b'"event":"ad"' not in on_disk(tmp_path))
    assert b'"event":"A"' in on_disk(tmp_path)
    tracker.opt_out()
    wait_until(lambda: b'"event":"A"' not in on_disk(tmp_path))
    assert tracker.stats().discarded == {"consent": 10}
    assert balanced(tracker)


def on_disk(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*.log"))


def test_damage_is_a_loss_that_is_told(
    app: App, server: Capture, make_tracker: Any, tmp_path: Path
) -> None:
    app(
        """
        tracker = make(flush_interval_s=60.0)
        for n in range(100):
            tracker.track("A", {"n": n}, user_id="u")
        os._exit(0)
        """
    ).wait(timeout=20)
    (segment,) = tmp_path.rglob("*.log")
    raw = bytearray(segment.read_bytes())
    raw[2000] ^= 1
    segment.write_bytes(raw)
    losses: list[tuple[str, int]] = []
    tracker = make_tracker(on_loss=lambda *loss: losses.append(loss))
    assert tracker.flush(timeout=10)
    assert len(server.ids()) == 99
    assert losses == [("disk", 1)]
    assert balanced(tracker)
