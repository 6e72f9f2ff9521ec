"""Processes that are killed, end, fork and share a queue folder: nothing is lost, ids are kept."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest
from capturing import Capture, last_json, wait_until

App = Callable[..., Popen[str]]

KILL_ROUNDS = int(os.environ.get("DESIREPATH_KILL_ROUNDS", "3"))


def sweep(make_tracker: Any) -> Any:
    """A fresh process's tracker, which takes over what the dead ones left."""
    tracker = make_tracker()
    assert tracker.flush(timeout=20)
    assert tracker.stats().queued == 0
    return tracker


def test_sigkill_at_random_moments(app: App, server: Capture, make_tracker: Any) -> None:
    """Every id that was printed after its call is delivered, by the next start at the latest."""
    rng = random.Random(7)
    called: set[str] = set()
    for number in range(KILL_ROUNDS):
        process = app(
            """
            tracker = make()
            n = 0
            while True:
                ids = [f"{sys.argv[3]}-{n + i}" for i in range(20)]
                for each in ids:
                    tracker.track("A", {"text": "x" * 300}, user_id="u", message_id=each)
                n += 20
                print(" ".join(ids), flush=True)
                time.sleep(0.002)
            """,
            str(number),
        )
        assert process.stdout is not None
        called.update(process.stdout.readline().split())
        time.sleep(rng.uniform(0.01, 0.4))
        process.send_signal(signal.SIGKILL)
        called.update(process.communicate()[0].split())
    assert len(called) > 20 * KILL_ROUNDS
    sweep(make_tracker)
    assert not called - server.ids().keys(), "tracked events are lost"


@pytest.mark.parametrize(
    "ending",
    [
        "pass",
        "sys.exit(3)",
        "raise RuntimeError",
        "os._exit(0)",
        "os.kill(os.getpid(), signal.SIGTERM); time.sleep(5)",
        "os.kill(os.getpid(), signal.SIGINT); time.sleep(5)",
    ],
    ids=["end", "exit", "exception", "_exit", "SIGTERM", "SIGINT"],
)
def test_an_exit_without_flush(
    app: App, server: Capture, make_tracker: Any, ending: str, tmp_path: Path
) -> None:
    process = app(
        f"""
        sys.stderr = open(os.devnull, "w")
        tracker = make()
        for n in range(1000):
            tracker.track("A", {{"n": n}}, user_id="u", message_id=f"m{{n}}")
        {ending}
        """
    )
    process.communicate(timeout=20)
    if "os." not in ending:
        assert len(server.ids()) == 1000, "an orderly end delivers before it is over"
        assert not list((tmp_path / "queue").glob("*/*-*")), "and leaves nothing behind"
    sweep(make_tracker)
    assert len(server.ids()) == 1000


def test_an_exit_with_a_dead_server_is_bounded(app: App, server: Capture) -> None:
    """What cannot be sent within `exit_timeout_s` stays on disk."""
    server.fault = lambda handler, events: time.sleep(3) or True
    process = app(
        """
        tracker = make(exit_timeout_s=0.3)
        for n in range(1000):
            tracker.track("A", user_id="u", message_id=f"m{n}")
        print(json.dumps(time.monotonic()), flush=True)
        """
    )
    ended = last_json(process)
    assert time.monotonic() - ended < 2.5


@pytest.mark.parametrize("moment", ["before", "after"])
def test_forks_before_and_after_the_first_call(app: App, server: Capture, moment: str) -> None:
    """A prefork server: each process has its own queue, thread and connection."""
    process = app(
        """
        tracker = make()
        if sys.argv[3] == "after":
            for n in range(50):
                tracker.track("A", user_id="u", message_id=f"parent-early-{n}")
            tracker.flush()
            for n in range(50):
                tracker.track("A", user_id="u", message_id=f"parent-{n}")
        children = []
        for number in range(3):
            child = os.fork()
            if child == 0:
                for n in range(200):
                    tracker.track("A", user_id="u", message_id=f"child-{number}-{n}")
                ok = tracker.flush(timeout=10)
                os._exit(0 if ok and tracker.stats().delivered == 200 else 1)
            children.append(child)
        for n in range(200):
            tracker.track("A", user_id="u", message_id=f"parent-late-{n}")
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        print(json.dumps({"codes": codes, "flushed": tracker.flush(timeout=10)}), flush=True)
        """,
        moment,
    )
    assert last_json(process) == {"codes": [0, 0, 0], "flushed": True}
    counts = server.ids()
    assert len(counts) == (900 if moment == "after" else 800)
    assert max(counts.values()) == 1, "nobody sends another's events"


def test_forked_children_that_just_end_are_taken_over_by_their_parent(
    app: App, server: Capture
) -> None:
    process = app(
        """
        tracker = make()
        children = []
        for number in range(3):
            child = os.fork()
            if child == 0:
                for n in range(100):
                    tracker.track("A", user_id="u")
                os._exit(0)
            children.append(child)
        for child in children:
            os.waitpid(child, 0)
        print(json.dumps(tracker.flush(timeout=10)), flush=True)
        """
    )
    assert last_json(process) is True
    assert len(server.ids()) == 300, "ids of forked processes do not collide"


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing(app: App, server: Capture, method: str) -> None:
    process = app(
        """
        import multiprocessing

        def work(name):
            for n in range(100):
                tracker.track("A", user_id="u", message_id=f"{name}-{n}")

        tracker = make()
        if __name__ == "__main__":
            import warnings
            warnings.simplefilter("ignore")
            tracker.track("A", user_id="u", message_id="parent")
            context = multiprocessing.get_context(sys.argv[3])
            workers = [context.Process(target=work, args=(f"w{n}",)) for n in range(2)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
            print(json.dumps(tracker.flush(timeout=10)), flush=True)
        """,
        method,
    )
    assert last_json(process) is True
    assert len(server.ids()) == 201


def test_two_processes_on_one_queue_folder(app: App, server: Capture, tmp_path: Path) -> None:
    script = """
        tracker = make()
        for n in range(1500):
            tracker.track("A", {"n": n}, user_id="u", message_id=f"{sys.argv[3]}-{n}")
            if n % 50 == 0:
                time.sleep(0.005)
        print(json.dumps(tracker.flush(timeout=20)), flush=True)
        """
    processes = [app(script, name) for name in ("a", "b", "c")]
    assert all(last_json(process) for process in processes)
    counts = server.ids()
    assert len(counts) == 4500
    assert max(counts.values()) == 1, "a living process's queue is never touched"
    assert not list((tmp_path / "queue").glob("*/*-*"))


def test_calls_from_a_signal_handler_and_a_finaliser(app: App, server: Capture) -> None:
    """Both may run in the middle of a call of the same thread: no deadlock, no loss."""
    process = app(
        """
        tracker = make()
        count = [0]
        def tick(*_):
            count[0] += 1
            tracker.track("tick", user_id="u")
        signal.signal(signal.SIGALRM, tick)
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        class Dying:
            def __del__(self):
                tracker.track("dying", user_id="u")
                dead.append(1)
        dead = []
        until = time.monotonic() + 0.5
        calls = 0
        while time.monotonic() < until:
            one = Dying()
            one.itself = one
            tracker.track("A", user_id="u")
            calls += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        import gc
        del one
        while len(dead) < calls:  # the sender's thread may be collecting garbage, too
            gc.collect()
        ok = tracker.flush(timeout=20)
        stats = tracker.stats()
        print(json.dumps([ok, 2 * calls + count[0], stats.delivered, stats.lost]), flush=True)
        """
    )
    flushed, called, delivered, lost = last_json(process)
    assert (flushed, delivered, lost) == (True, called, {})
    assert len(server.ids()) == called


@pytest.mark.skipif(sys.platform != "linux", reason="needs a full disk")
def test_a_disk_that_is_full(make_tracker: Any, server: Capture, caplog: Any) -> None:
    """/dev/full cannot hold a folder, so the disk's refusal is played by the file system object."""
    from desirepath.journal import DiskFileSystem

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DiskFileSystem, "create", full)
        tracker = make_tracker()
        for n in range(500):
            tracker.track("A", {"n": n}, user_id="u")
        assert tracker.flush(timeout=10)
    assert tracker.stats().lost == {}
    assert len(server.ids()) == 500
    assert "wait in memory only" in caplog.text


def test_a_read_only_queue_folder(
    make_tracker: Any, server: Capture, tmp_path: Path, caplog: Any
) -> None:
    (tmp_path / "file").write_text("")
    tracker = make_tracker(queue_dir=tmp_path / "file" / "queue")
    for n in range(500):
        tracker.track("A", {"n": n}, user_id="u")
    tracker.track("A")
    assert tracker.flush(timeout=10)
    assert len(server.ids()) == 501
    assert tracker.stats().lost == {}
    assert len([r for r in caplog.records if "wait in memory only" in r.message]) == 1


def test_a_queue_folder_that_is_taken_away(
    make_tracker: Any, server: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was in the files is a counted loss at most; the rest goes on, in a new folder."""
    import shutil

    from desirepath import _queue

    monkeypatch.setattr(_queue, "_DISK_RETRY_S", 0.05)
    server.fault = lambda handler, events: handler.answer(500, {}) or True
    tracker = make_tracker()
    text = "x" * 100_000
    for _ in range(100):
        tracker.track("before", {"text": text}, user_id="u")
    shutil.rmtree(tmp_path / "queue")
    for _ in range(100):
        tracker.track("during", {"text": text}, user_id="u")
    time.sleep(0.1)
    for _ in range(10):
        tracker.track("after", user_id="u")
    server.fault = None
    assert tracker.flush(timeout=20)
    stats = tracker.stats()
    assert stats.tracked == 210 == stats.delivered + stats.lost.get("disk", 0)
    assert set(stats.lost) <= {"disk"}
    assert len(server.named("after")) == 10


def test_memory_has_a_bound_and_what_does_not_fit_is_counted(
    make_tracker: Any, server: Capture
) -> None:
    server.fault = lambda handler, events: handler.answer(500, {}) or True
    losses: list[tuple[str, int]] = []
    tracker = make_tracker(
        queue="memory",
        max_memory_bytes=20_000,
        on_loss=lambda reason, events: losses.append((reason, events)),
    )
    for _ in range(200):
        tracker.track("A", {"text": "x" * 300}, user_id="u")
    stats = tracker.stats()
    assert stats.lost["queue_full"] == len(losses) > 100
    assert stats.queued + stats.lost["queue_full"] == stats.tracked == 200
    server.fault = None
    assert tracker.flush(timeout=10)
    assert len(server.ids()) == stats.queued


def test_the_bound_on_disk_spills_into_memory(make_tracker: Any, server: Capture) -> None:
    server.fault = lambda handler, events: handler.answer(500, {}) or True
    tracker = make_tracker(max_queue_bytes=30_000)
    for n in range(300):
        tracker.track("A", {"text": "x" * 300, "n": n}, user_id="u")
    assert tracker.stats().lost == {}
    server.fault = None
    assert tracker.flush(timeout=10)
    assert len(server.ids()) == 300


def test_the_clock_stepping_back(
    make_tracker: Any, server: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = time.time_ns
    shift = [0]
    monkeypatch.setattr(time, "time_ns", lambda: real() + shift[0])
    tracker = make_tracker()
    for n in range(300):
        shift[0] = -n * 10**9 * 60
        tracker.track("A", user_id="u")
    assert tracker.flush(timeout=10)
    assert len(server.ids()) == 300
    wait_until(lambda: tracker.stats().queued == 0)
