"""`desirepath demo`, twice on one folder, ended by Ctrl-C as a person would."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

VISITORS = 900
PATIENCE_S = 240.0


def test_the_demo_answers_serves_on_and_starts_again(
    tmp_path: Path, child_environment: dict[str, str]
) -> None:
    """The first run simulates; the second serves what is there; both end cleanly."""
    first = demo_until_it_serves(tmp_path / "data", child_environment)
    assert "are on disk and in ClickHouse" in first
    for heading in ("Where do buyers drop off?", "big_spenders:", "lift at 10 %"):
        assert heading in first

    second = demo_until_it_serves(tmp_path / "data", child_environment)
    assert "events already; none are sent" in second
    assert "lift at 10 %" in second


def demo_until_it_serves(data: Path, environment: dict[str, str]) -> str:
    """Run the demo until it says where it serves, press Ctrl-C; what it printed."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "desirepath", "demo", "--data", str(data)),
            *("--port", "0", "--clickhouse-port", "0", "--visitors", str(VISITORS)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment | {"COLUMNS": "200"},
        start_new_session=True,
    )
    assert process.stdout is not None
    # A demo that hangs is ended; reading its output then ends too.
    watchdog = threading.Timer(PATIENCE_S, process.kill)
    watchdog.start()
    try:
        lines: list[str] = []
        interrupted = False
        for line in process.stdout:
            lines.append(line)
            # Once: cut off while it prints, the terminal's library prints the line again.
            if line.startswith("Serving events at") and not interrupted:
                interrupted = True
                os.kill(process.pid, signal.SIGINT)
        assert process.wait() == 0, "".join(lines)
    finally:
        watchdog.cancel()
        process.stdout.close()
    return "".join(lines)
