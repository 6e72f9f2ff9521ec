"""Forks, signals, neighbours and ends that come at the worst moment."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

import pytest
from capturing import Capture, last_json

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
