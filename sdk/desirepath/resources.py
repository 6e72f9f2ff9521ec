"""Files that ship with Desirepath: starter plans and the sample shop.

A wheel carries them inside its packages; an editable install finds them where they stand in the
checkout. Both are looked up here, so nobody else needs to know.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from desirepath.errors import InputError

__all__ = ["shipped", "starter_plan"]


def shipped(relative: str, *, package: str = "desirepath") -> Path:
    """The path of a shipped file or folder, e.g. `tracking_plans/shop.yaml`.

    Raises
    ------
    InputError
        If this installation does not carry it.
    """
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise InputError(f"the package {package} is not installed")
    inside = Path(spec.origin).parent
    # <checkout>/sdk/desirepath/__init__.py: the checkout is two folders up.
    for root in (inside, inside.parent.parent):
        if (root / relative).exists():
            return root / relative
    raise InputError(f"this installation of Desirepath does not carry {relative}")


def starter_plan(name: str) -> Path:
    """The path of a starter plan: `shop`, `saas`, `media` or `bank`.

    Raises
    ------
    InputError
        If there is no such starter plan.
    """
    return shipped(f"tracking_plans/{name}.yaml")
