"""Numbers as people read them in a terminal's table."""

from __future__ import annotations

__all__ = ["seconds", "share"]


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
