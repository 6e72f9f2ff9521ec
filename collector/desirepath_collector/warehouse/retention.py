"""How long events are kept: a TTL for each class of events, applied by ClickHouse as it merges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from desirepath.errors import SettingsError
from desirepath_collector.warehouse.sql import literal

__all__ = ["retention"]

# DateTime ends in 2106; a client's clock may not.
_MOMENT: Final = (
    "toDateTime(least(original_timestamp, toDateTime64('2100-01-01 00:00:00', 3, 'UTC')))"
)
_ARRIVED: Final = "toDateTime(received_at)"


def retention(
    days: int | None, by_event: Mapping[str, int] | None = None, quarantine_days: int | None = None
) -> list[str]:
    """The statements that set how long events are kept.

    Parameters
    ----------
    days
        For all events that `by_event` does not name; None keeps them for ever.
    by_event
        Days by event name.
    quarantine_days
        For quarantined events; None keeps them for ever.

    Raises
    ------
    SettingsError
        If a number of days is not positive.
    """
    by_event = dict(by_event or {})
    for name, value in {"events": days, "quarantine": quarantine_days, **by_event}.items():
        if value is not None and value < 1:
            raise SettingsError(f"{name!r} cannot be kept for {value} days")
    rules = [
        f"{_MOMENT} + toIntervalDay({value}) DELETE WHERE event = {literal(name)}"
        for name, value in sorted(by_event.items())
    ]
    if days is not None:
        named = ", ".join(literal(name) for name in sorted(by_event))
        others = f" WHERE event NOT IN ({named})" if named else ""
        rules.append(f"{_MOMENT} + toIntervalDay({days}) DELETE{others}")
    arrived = f"{_ARRIVED} + toIntervalDay({quarantine_days}) DELETE"
    return [
        _modify("events", rules),
        _modify("quarantine", [arrived] if quarantine_days is not None else []),
    ]


def _modify(table: str, rules: list[str]) -> str:
    if rules:
        return f"ALTER TABLE {table} MODIFY TTL {', '.join(rules)}"
    return f"ALTER TABLE {table} REMOVE TTL"
