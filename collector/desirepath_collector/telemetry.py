"""What the collector counts about itself, in Prometheus' text form.

Labels are bounded: sources come from the settings, codes from our own tables. An event's name is
never a label, because anybody may send a hundred thousand of them. Counters are bumped once a
request or a batch, not once an event.
"""

from __future__ import annotations

import bisect
import time
from collections.abc import Callable, Sequence
from typing import Final

__all__ = ["CONTENT_TYPE", "Counter", "Gauge", "Histogram", "Telemetry"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Counter:
    """Only ever grows; one number for each combination of label values."""

    def __init__(self, name: str, help_: str, labels: tuple[str, ...] = ()) -> None:
        self.name = name
        self.help = help_
        self._labels = labels
        self._values: dict[tuple[str, ...], float] = {} if labels else {(): 0}

    def add(self, amount: float, *labels: str) -> None:
        """Count `amount` more."""
        self._values[labels] = self._values.get(labels, 0) + amount

    def value(self, *labels: str) -> float:
        """The number counted so far."""
        return self._values.get(labels, 0)

    def lines(self) -> list[str]:
        """In Prometheus' text form."""
        found = [f"# HELP {self.name} {self.help}", f"# TYPE {self.name} counter"]
        for values, number in sorted(self._values.items()):
            found.append(f"{self.name}{_labels(self._labels, values)} {_number(number)}")
        return found


class Gauge:
    """A number that is asked for when somebody looks."""

    def __init__(self, name: str, help_: str, read: Callable[[], float]) -> None:
        self.name = name
        self.help = help_
        self._read = read

    def lines(self) -> list[str]:
        """In Prometheus' text form."""
        return [
            f"# HELP {self.name} {self.help}",
            f"# TYPE {self.name} gauge",
            f"{self.name} {_number(self._read())}",
        ]


class Histogram:
    """How often a time fell below each bound, in seconds."""

    def __init__(self, name: str, help_: str, bounds: Sequence[float] = _SECONDS) -> None:
        self.name = name
        self.help = help_
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one measurement."""
        self._counts[bisect.bisect_left(self._bounds, value)] += 1
        self._sum += value

    def lines(self) -> list[str]:
        """In Prometheus' text form."""
        found = [f"# HELP {self.name} {self.help}", f"# TYPE {self.name} histogram"]
        total = 0
        for bound, count in zip((*self._bounds, float("inf")), self._counts, strict=True):
            total += count
            edge = "+Inf" if bound == float("inf") else f"{bound:g}"
            found.append(f'{self.name}_bucket{{le="{edge}"}} {total}')
        return [*found, f"{self.name}_sum {self._sum:.6f}", f"{self.name}_count {total}"]


class Telemetry:
    """Everything that is counted, by name."""

    def __init__(self) -> None:
        self.events = Counter(
            "desirepath_events_total", "Events by source and verdict.", ("source", "verdict")
        )
        self.violations = Counter("desirepath_violations_total", "Violations by code.", ("code",))
        self.requests = Counter(
            "desirepath_requests_total", "Intake requests by result.", ("result",)
        )
        self.body_bytes = Counter("desirepath_body_bytes_total", "Bytes of intake bodies.")
        self.rows = Counter("desirepath_loaded_rows_total", "Rows in ClickHouse.", ("table",))
        self.repeats = Counter(
            "desirepath_repeats_total", "Events dropped before insert as repeats of a message id."
        )
        self.poison = Counter(
            "desirepath_poison_rows_total", "Rows that ClickHouse refused for good."
        )
        self.aside = Counter(
            "desirepath_set_aside_rows_total", "Rows that even the quarantine refused."
        )
        self.load_failures = Counter(
            "desirepath_load_failures_total", "Failed tries to load a batch.", ("what",)
        )
        self.answer_seconds = Histogram(
            "desirepath_answer_seconds", "Time from a whole intake request to its answer."
        )
        self.load_seconds = Histogram(
            "desirepath_load_seconds", "Time to insert a batch.", (*_SECONDS, 30.0, 60.0)
        )
        self.started_s = time.time()
        self.gauges: list[Gauge] = [
            Gauge(
                "desirepath_start_time_seconds", "Unix time of the start.", lambda: self.started_s
            )
        ]

    def gauge(self, name: str, help_: str, read: Callable[[], float]) -> None:
        """Add a number that is asked for when somebody looks."""
        self.gauges.append(Gauge(name, help_, read))

    def loaded(self, events: int, quarantined: int, seconds: float) -> None:
        """A batch is in ClickHouse."""
        self.rows.add(events, "events")
        self.rows.add(quarantined, "quarantine")
        self.load_seconds.observe(seconds)

    def repeated(self, count: int) -> None:
        """Events were dropped as repeats."""
        self.repeats.add(count)

    def poisoned(self, count: int) -> None:
        """Rows were refused by ClickHouse."""
        self.poison.add(count)

    def set_aside(self, count: int) -> None:
        """Rows were refused by the quarantine."""
        self.aside.add(count)

    def load_failed(self, what: str) -> None:
        """A try to load failed, for want of the spool or the warehouse."""
        self.load_failures.add(1, what)

    def text(self) -> str:
        """All of it, in Prometheus' text form."""
        metrics = [
            *(value for value in vars(self).values() if isinstance(value, Counter | Histogram)),
            *self.gauges,
        ]
        return "\n".join(line for metric in metrics for line in metric.lines()) + "\n"


def _labels(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    if not names:
        return ""
    pairs = (f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True))
    return "{" + ",".join(pairs) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))
