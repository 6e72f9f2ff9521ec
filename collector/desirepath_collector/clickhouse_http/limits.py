"""How much one query may take. Settings of a request may lower a limit, never lift it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from desirepath_collector.clickhouse_http.errors import DoorError

__all__ = ["Limits"]

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

# What would undo the limits if a query could set it.
_FIXED: Final = frozenset({"allow_ddl", "profile", "readonly"})


class Limits(msgspec.Struct, frozen=True):
    """The bounds of one query through the door.

    Parameters
    ----------
    time_s
        Seconds that it may run.
    memory_bytes
        Memory that it may hold.
    rows
        Rows that its result may have.
    result_bytes
        Bytes that its result may have, uncompressed.
    spill_bytes
        Bytes that it may write to temporary files while sorting, grouping or joining.
    parallel
        Queries that may run at once; more are asked to come back later.
    """

    time_s: int = 60
    memory_bytes: int = 4_000_000_000
    rows: int = 20_000_000
    result_bytes: int = 2_000_000_000
    spill_bytes: int = 20_000_000_000
    parallel: int = 8

    def ceilings(self) -> dict[str, int]:
        """The limits as ClickHouse settings."""
        return {
            "max_execution_time": self.time_s,
            "max_memory_usage": self.memory_bytes,
            "max_result_rows": self.rows,
            "max_result_bytes": self.result_bytes,
            "max_temporary_data_on_disk_size_for_query": self.spill_bytes,
        }

    def apply(self, asked: Mapping[str, str]) -> dict[str, str]:
        """The settings to run with, given those that the request asks for.

        Raises
        ------
        DoorError
            If the request sets something that is not its to set.
        """
        ceilings = self.ceilings()
        settings = {name: str(value) for name, value in ceilings.items()}
        for name, value in asked.items():
            if not _NAME.fullmatch(name):
                raise DoorError(115, f"Setting {name!r} is neither a builtin setting nor a name")
            if name in _FIXED:
                if name == "readonly" and value in ("1", "2"):
                    continue
                raise DoorError(164, f"Cannot modify '{name}' setting in readonly mode")
            settings[name] = _lower(value, ceilings[name]) if name in ceilings else value
        return settings

    def check_text(self, formatted: str) -> None:
        """Refuse a statement, as the engine formats it, whose SETTINGS would lift a limit.

        Raises
        ------
        DoorError
            If it would. A column that is compared and has such a name is refused too.
        """
        for name, ceiling in self.ceilings().items():
            for match in re.finditer(rf"\b{name}`?\s*=\s*'?([^\s,')]*)", formatted):
                if _lower(match[1], ceiling) != match[1]:
                    raise DoorError(452, f"Setting {name} shouldn't be greater than {ceiling}")
        for name in _FIXED:
            if re.search(rf"\b{name}`?\s*=\s*[^=]", formatted):
                raise DoorError(164, f"Cannot modify '{name}' setting in readonly mode")


def _lower(value: str, ceiling: int) -> str:
    try:
        number = float(value)
    except ValueError:
        return str(ceiling)
    return value if 0 < number <= ceiling else str(ceiling)
