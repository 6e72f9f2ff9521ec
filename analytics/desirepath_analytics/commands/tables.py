"""Numbers as people read them in a terminal's table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["interval", "seconds", "share", "table"]


def table(title: str, *texts: str, numbers: Sequence[str] = ()) -> Table:
    """An empty table of columns of text, then columns of numbers; it fits 80 characters."""
    from rich import box
    from rich.table import Table

    made = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    for name in texts:
        made.add_column(name, overflow="fold")
    for name in numbers:
        made.add_column(name, justify="right", no_wrap=True)
    return made


def interval(low: float | None, high: float | None) -> str:
    """`58.3-61.9`, the ends of an interval of shares in per cent."""
    return "" if low is None or high is None else f"{low * 100:.1f}-{high * 100:.1f}"


def share(value: float | None) -> str:
    """`12.3 %`, or a dash for what is not known."""
    return "-" if value is None else f"{value * 100:.1f} %"


def seconds(value: float | None) -> str:
    """A span in its two largest units: `2d 4h`, `3m 20s`, `0.8s`."""
    if value is None:
        return "-"
    if value < 10:
        return f"{value:.1f}s"
    whole = round(value)
    sizes = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
    parts = []
    for unit, size in sizes:
        count, whole = divmod(whole, size)
        parts.append((count, unit))
    first = next(i for i, (count, _) in enumerate(parts) if count)
    return " ".join(f"{count}{unit}" for count, unit in parts[first : first + 2] if count)
