"""Calendar periods in a time zone: hours, days, weeks (from Monday) and months, numbered.

The same numbers in Python and in ClickHouse: days since 1970-01-01 in the zone, weeks and months
made of those days, hours since 1970 in UTC (a zone's odd half hours do not move them). A `Grid`
is the run of periods that an answer is about.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal, cast
from zoneinfo import ZoneInfo, available_timezones

import msgspec

from desirepath.errors import QueryError
from desirepath_analytics.behaviour.options import read_one_of
from desirepath_analytics.names import did_you_mean
from desirepath_analytics.spec import Period

if TYPE_CHECKING:
    from desirepath_analytics.sql.build import Statement

__all__ = ["UNITS", "Grid", "Unit", "read_timezone", "read_unit"]

Unit = Literal["hour", "day", "week", "month"]
UNITS: Final[tuple[Unit, ...]] = ("hour", "day", "week", "month")

MAX_PERIODS: Final = 256
"""Presence in each period is one bit of a UInt256."""

_EPOCH: Final = date(1970, 1, 1).toordinal()


def read_unit(value: object, at: str) -> Unit:
    """`hour`, `day`, `week` or `month`."""
    return cast("Unit", read_one_of(value, UNITS, at))


def read_timezone(value: object, at: str = "timezone") -> str:
    """A name of the IANA data base, such as Europe/Stockholm."""
    if not isinstance(value, str) or value not in available_timezones():
        hint = did_you_mean(str(value), available_timezones())
        raise QueryError(f"{at}: unknown time zone {value!r}", hint=hint)
    return value


class Grid(msgspec.Struct, frozen=True):
    """`count` periods of a unit in a time zone, numbered from 0.

    `first` is the number of the first since 1970; `end` is up to when there is data, so that a
    period that is not over can be told from one that is.
    """

    unit: Unit
    timezone: str
    first: int
    count: int
    end: datetime

    @classmethod
    def over(cls, period: Period, unit: Unit, timezone: str, *, end: datetime) -> Grid:
        """The periods that a bounded stretch of time touches."""
        if period.since is None or period.until is None:
            raise QueryError("an open range has no periods", hint="give since and until")
        first = number(period.since, unit, timezone)
        last = number(period.until - timedelta(milliseconds=1), unit, timezone)
        count = last - first + 1
        if count > MAX_PERIODS:
            raise QueryError(
                f"{count:,} {unit}s between since and until; at most {MAX_PERIODS}",
                hint="ask for a shorter range, or count in longer units",
            )
        return cls(unit, timezone, first, count, end)

    def start(self, index: int) -> datetime:
        """When a period begins."""
        return start_of(self.first + index, self.unit, self.timezone)

    def label(self, index: int) -> str:
        """The day (or month, or hour) a period begins with."""
        begin = self.start(index)
        if self.unit == "hour":
            return begin.astimezone(ZoneInfo(self.timezone)).strftime("%Y-%m-%d %H:%M")
        return begin.strftime("%Y-%m" if self.unit == "month" else "%Y-%m-%d")

    def labels(self) -> list[str]:
        """Of all periods."""
        return [self.label(index) for index in range(self.count)]

    def complete(self, index: int) -> bool:
        """Whether there is data up to the end of a period."""
        return self.start(index + 1) <= self.end

    @property
    def mask_type(self) -> str:
        """The smallest integer that has a bit for every period."""
        return next(f"UInt{bits}" for bits in (64, 128, 256) if self.count <= bits)

    def sql(self, s: Statement, column: str = "timestamp") -> str:
        """The number of a moment's period; negative before the first."""
        ms = f"toUnixTimestamp64Milli({column})"
        if self.unit == "hour":
            text = f"toInt32(intDiv({ms}, 3600000))"
        elif self.unit == "month":
            text = f"toInt32(toRelativeMonthNum({column}, {s.bind(self.timezone)}))"
        else:
            # Plain arithmetic costs a third of the calendar's function.
            day = f"toInt32(intDiv({ms}, 86400000))"
            if self.timezone != "UTC":
                day = f"toInt32(toRelativeDayNum({column}, {s.bind(self.timezone)}))"
            text = f"intDiv({day} + 3, 7)" if self.unit == "week" else day
        return f"({text} - {self.first})"

    def bit(self, index: str) -> str:
        """The bit of a period in the mask."""
        return f"bitShiftLeft(to{self.mask_type}(1), {index})"

    def mask(self, value: int) -> str:
        """A constant of the mask's type."""
        return f"to{self.mask_type}('{value % 2 ** int(self.mask_type[4:])}')"


def number(moment: datetime, unit: Unit, timezone: str) -> int:
    """The number of the period since 1970 in which a moment lies."""
    if unit == "hour":
        return int(moment.timestamp() // 3600)
    local = moment.astimezone(ZoneInfo(timezone))
    if unit == "month":
        return local.year * 12 + local.month
    day = local.date().toordinal() - _EPOCH
    return (day + 3) // 7 if unit == "week" else day


def start_of(period: int, unit: Unit, timezone: str) -> datetime:
    """When the period of a number begins."""
    if unit == "hour":
        return datetime.fromtimestamp(period * 3600, UTC)
    if unit == "month":
        year, month = divmod(period - 1, 12)
        begin = date(year, month + 1, 1)
    else:
        day = period * 7 - 3 if unit == "week" else period
        begin = date.fromordinal(day + _EPOCH)
    return datetime(begin.year, begin.month, begin.day, tzinfo=ZoneInfo(timezone))
