"""Plan coverage: which planned events and properties the tests have tracked.

Events and properties count alike. An event that is only `planned`, or `deprecated`, is asked for
only once it has been seen. Traits of people and groups are rows like events.
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest

from desirepath.event import PAGE_EVENT, SCREEN_EVENT
from desirepath.plan import Plan
from desirepath.testing._tap import listening

if TYPE_CHECKING:
    from desirepath.plan import Violation

__all__ = ["CoverageReporter", "PlanCoverage"]

_KEY: Final = "desirepath_plan_coverage"
_TRAITS: Final = "identify (traits)"
_GROUPS: Final = "group (traits)"
_ROWS: Final = {
    "identify": _TRAITS,
    "group": _GROUPS,
    "page": PAGE_EVENT,
    "screen": SCREEN_EVENT,
}


class _Message(msgspec.Struct):
    type: str
    event: str = ""
    properties: dict[str, Any] = {}
    traits: dict[str, Any] = {}


_decode: Final = msgspec.json.Decoder(_Message).decode


class Row(msgspec.Struct, frozen=True):
    """One event's line of the report."""

    name: str
    seen: int
    properties: int
    missing: tuple[str, ...]


class PlanCoverage:
    """What has been seen of one plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._planned = {name: tuple(event.properties) for name, event in plan.events.items()}
        self._waived = {name for name, event in plan.events.items() if event.status != "live"}
        if plan.traits:
            self._planned[_TRAITS] = tuple(plan.traits)
        if plan.groups:
            self._planned[_GROUPS] = tuple(plan.groups)
        self._seen: Counter[str] = Counter()
        self._properties: dict[str, set[str]] = {name: set() for name in self._planned}
        self.unplanned: set[str] = set()

    def see(self, record: bytes) -> None:
        """Count one record."""
        message = _decode(record)
        name = message.event or _ROWS.get(message.type, "")
        if name in self._planned:
            self._seen[name] += 1
            self._properties[name].update(message.traits or message.properties)
        elif message.event:
            self.unplanned.add(name)

    def rows(self) -> list[Row]:
        """What counts, in the plan's order."""
        rows = []
        for name, planned in self._planned.items():
            if name in self._waived and not self._seen[name]:
                continue
            missing = tuple(each for each in planned if each not in self._properties[name])
            rows.append(Row(name, self._seen[name], len(planned), missing))
        return rows

    @property
    def percent(self) -> float:
        """The share of events and properties that have been seen, 0 to 100."""
        rows = self.rows()
        planned = sum(1 + row.properties for row in rows)
        missing = sum((not row.seen) + len(row.missing) for row in rows)
        return 100.0 * (planned - missing) / planned if planned else 100.0

    def dump(self) -> dict[str, Any]:
        """All of it as plain values, for another process."""
        return {
            "path": self.plan.path,
            "source": self.plan.source.decode(),
            "seen": dict(self._seen),
            "properties": {name: sorted(each) for name, each in self._properties.items()},
            "unplanned": sorted(self.unplanned),
        }

    def merge(self, dumped: dict[str, Any]) -> None:
        """Add what another process has seen of the same plan."""
        self._seen.update(dumped["seen"])
        for name, each in dumped["properties"].items():
            self._properties[name].update(each)
        self.unplanned.update(dumped["unplanned"])


class CoverageReporter:
    """Listens during the whole run and reports at its end; under pytest-xdist, for all workers.

    Parameters
    ----------
    plan
        The plan; without one, each tracker's own.
    least
        The share to be reached, 0 to 100.
    """

    captures = False

    def __init__(self, config: pytest.Config, plan: Plan | None, least: float | None) -> None:
        self._plan = plan
        self._least = least
        self._found: dict[str, PlanCoverage] = {}
        if plan is not None:
            self._of(plan)
        self._listening = ExitStack()
        self._listening.enter_context(listening(self))
        self._worker = hasattr(config, "workerinput")

    def saw(self, record: bytes, plan: Plan | None, violations: tuple[Violation, ...]) -> None:
        """Count a record."""
        plan = self._plan or plan
        if plan is not None:
            self._of(plan).see(record)

    def lost(self, reason: str, why: str) -> None:
        """Is no matter of coverage."""

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """A worker of pytest-xdist has finished."""
        for dumped in getattr(node, "workeroutput", {}).get(_KEY, ()):
            self._of(Plan.parse(dumped["source"], dumped["path"])).merge(dumped)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Hand over to the controller, or judge."""
        if self._worker:
            output: dict[str, Any] = session.config.workeroutput  # type: ignore[attr-defined]
            output[_KEY] = [each.dump() for each in self._found.values()]
        elif self._short() and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the report."""
        write = terminalreporter.write_line
        if not self._found:
            terminalreporter.section("plan coverage")
            write("no tracker has a plan; name one: --plan-coverage=FILE")
        for found in self._found.values():
            terminalreporter.section(f"plan coverage: {found.plan.name} {found.plan.version}")
            for line in _table(found):
                write(line)
        if self._short():
            reached = min((each.percent for each in self._found.values()), default=0.0)
            write(f"FAIL: {reached:.1f} % of the plan is below the {self._least:g} % asked for")

    def pytest_unconfigure(self) -> None:
        """Listen no more."""
        self._listening.close()

    def _of(self, plan: Plan) -> PlanCoverage:
        found = self._found.get(plan.digest)
        if found is None:
            found = self._found[plan.digest] = PlanCoverage(plan)
        return found

    def _short(self) -> bool:
        if self._least is None or self._worker:
            return False
        return not self._found or any(each.percent < self._least for each in self._found.values())


def _table(found: PlanCoverage) -> list[str]:
    """The report's lines."""
    rows = found.rows()
    width = max([len(row.name) for row in rows] + [5])
    lines = [f"{'Event':<{width}}  {'Seen':>6}  {'Properties':>10}  Not seen"]
    for row in rows:
        share = f"{row.properties - len(row.missing)}/{row.properties}"
        missing = ", ".join(row.missing) if row.seen else "never tracked"
        lines.append(f"{row.name:<{width}}  {row.seen:>6}  {share:>10}  {missing}".rstrip())
    events = sum(1 for row in rows if row.seen)
    properties = sum(row.properties for row in rows)
    seen = properties - sum(len(row.missing) for row in rows)
    lines.append(
        f"{events} of {len(rows)} events, {seen} of {properties} properties: {found.percent:.1f} %"
    )
    if found.unplanned:
        lines.append(f"not in the plan: {', '.join(sorted(found.unplanned))}")
    return lines
