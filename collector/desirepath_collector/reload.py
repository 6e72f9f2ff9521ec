"""Settings and plan that change while the collector runs.

A reload happens on SIGHUP, and by itself when the settings file or the plan file changed. What is
wrong is logged and refused as a whole: the collector goes on with what it had. Sources, readers,
limits and the plan change at once; `FIXED` settings need a restart, and a change of one is told.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from desirepath.errors import DesirepathError
from desirepath_collector.plans import load_plan, load_source_plans
from desirepath_collector.settings import SETTINGS_FILE, Settings

if TYPE_CHECKING:
    from desirepath_collector.app import Collector

__all__ = ["FIXED", "Reloader"]

log = logging.getLogger("desirepath.reload")

FIXED: Final = (
    "data", "clickhouse", "database", "host", "port", "clickhouse_host", "clickhouse_port",
    "pii_key", "spool_max_bytes", "load_max_rows", "load_interval_s", "retry_max_s",
    "dedupe_window", "log",
)  # fmt: skip
"""Settings that a reload does not change."""

_LOOK_S: Final = 1.0


class Reloader:
    """Keeps one collector up to date.

    Parameters
    ----------
    collector
        It.
    read
        Reads the settings again as they were read at the start.
    file
        The settings file; by default the one that is read by default.
    """

    def __init__(
        self, collector: Collector, read: Callable[[], Settings], file: str | None = None
    ) -> None:
        self._collector = collector
        self._read = read
        self._file = file or SETTINGS_FILE
        self._asked = asyncio.Event()
        self._seen = self._stamps()

    def ask(self) -> None:
        """Reload now; for a signal handler."""
        self._asked.set()

    async def run(self) -> None:
        """Reload whenever it is asked for or a file changed, until cancelled."""
        while True:
            try:
                await asyncio.wait_for(self._asked.wait(), _LOOK_S)
            except TimeoutError:
                if self._stamps() == self._seen:
                    continue
            self._asked.clear()
            self._seen = self._stamps()
            await self.reload()

    async def reload(self) -> bool:
        """Take over what changed; False if it is refused."""
        collector = self._collector
        loop = asyncio.get_running_loop()
        try:
            settings = self._read()
            plan = None
            if settings.plan:
                plan = await loop.run_in_executor(None, load_plan, settings.plan)
            special = await loop.run_in_executor(None, load_source_plans, settings)
            live = collector.plans.plan
            if plan is not None and (live is None or live.digest != plan.digest):
                await collector.publish(plan)
                log.info("the plan is %s %s now", plan.name, plan.version)
        except DesirepathError as error:
            log.error("reload refused, everything stays as it was: %s", error)
            return False
        for name in FIXED:
            if getattr(settings, name) != getattr(collector.settings, name):
                log.warning("a change of `%s` needs a restart", name)
        collector.use(settings, special)
        log.info("reloaded")
        return True

    def _stamps(self) -> tuple[tuple[int, int] | None, ...]:
        found: list[tuple[int, int] | None] = []
        for path in (self._file, self._collector.settings.plan):
            try:
                status = Path(path).stat()
                found.append((status.st_mtime_ns, status.st_size))
            except OSError:
                found.append(None)
        return tuple(found)
