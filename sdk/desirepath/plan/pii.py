"""What becomes of values marked `pii` before anything touches a disk.

`hash` replaces the value by its HMAC-SHA-256 in hex, keyed with the settings' key, so that equal
people stay equal without being readable; without a key it is replaced by `"[pii]"`, because an
unkeyed hash of an e-mail address is looked up in seconds. `drop` removes it, `keep` leaves it.
Doing it twice is the same as doing it once: the collector gets what the SDK has hashed already,
knows both forms again, and neither checks nor hashes them a second time.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

from msgspec import UNSET

from desirepath.errors import SettingsError
from desirepath.plan.wire import encode, reduced

__all__ = ["MIN_KEY_BYTES", "REDACTED", "Treatment", "check_key", "hash_value", "is_protected"]

MIN_KEY_BYTES: Final = 16
"""The shortest key that is taken."""

REDACTED: Final = "[pii]"
"""What stands for a hashed value where no key is configured, and in `Violation.found`."""

_HASHED = re.compile(r"[0-9a-f]{64}")


def is_protected(value: Any) -> bool:
    """Whether this is the outcome of `hash` already."""
    return type(value) is str and (value == REDACTED or _HASHED.fullmatch(value) is not None)


def check_key(key: bytes | None) -> None:
    """Refuse a key that is too short to protect anything, or no bytes at all."""
    if key is not None and not isinstance(key, bytes):
        raise SettingsError("the pii key is not bytes", hint="encode it: KEY.encode()")
    if key is not None and len(key) < MIN_KEY_BYTES:
        raise SettingsError(
            f"the pii key has {len(key)} bytes",
            hint=f"set DESIREPATH_PII_KEY to at least {MIN_KEY_BYTES} random bytes",
        )


def hash_value(value: Any, key: bytes | None) -> Any:
    """The keyed hash of a value: a string's UTF-8, anything else's JSON; null stays null.

    The JSON is the same for equal values: 1 and 1.0, an object's members in another order.
    """
    if value is None or is_protected(value):
        return value
    if key is None:
        return REDACTED
    message = value.encode() if type(value) is str else encode(_canonical(value))
    return hmac.digest(key, message, "sha256").hex()


def _canonical(value: Any) -> Any:
    if isinstance(value, float | Decimal):
        return reduced(value)
    if type(value) is list:
        return [_canonical(item) for item in value]
    if type(value) is dict:
        return {name: _canonical(value[name]) for name in sorted(value)}
    return value


class Treatment:
    """What to do with one value: what its own `pii` says, or that of the values nested in it."""

    __slots__ = ("items", "nested", "pii")

    def __init__(
        self,
        pii: str | None,
        nested: Mapping[str, Treatment] | None = None,
        items: Treatment | None = None,
    ) -> None:
        self.pii = pii
        self.nested = nested or {}
        self.items = items

    @classmethod
    def of(cls, schema: Mapping[str, Any], pii: str | None) -> Treatment | None:
        """The treatment a property's schema asks for; None if nothing in it is personal."""
        nested = {
            name: treatment
            for name, child in schema.get("properties", {}).items()
            if (treatment := cls.of(child, child.get("pii"))) is not None
        }
        items = cls.of(schema["items"], None) if "items" in schema else None
        return cls(pii, nested, items) if pii or nested or items else None

    @property
    def is_nested(self) -> bool:
        """Whether it reaches into the value."""
        return bool(self.nested) or self.items is not None

    @property
    def has_hashes(self) -> bool:
        """Whether it hashes anything, and so wants a key."""
        inner = [*self.nested.values(), *([self.items] if self.items else [])]
        return self.pii == "hash" or any(one.has_hashes for one in inner)

    def apply(self, value: Any, key: bytes | None) -> Any:
        """What to keep of a value, `UNSET` for nothing; a nested value is changed in place."""
        if self.pii == "drop":
            return UNSET
        if self.pii == "hash":
            return hash_value(value, key)
        if value is None or not self.is_nested:
            return value
        if type(value) is dict and self.nested:
            for name, treatment in self.nested.items():
                if name in value:
                    kept = treatment.apply(value[name], key)
                    if kept is UNSET:
                        del value[name]
                    else:
                        value[name] = kept
            return value
        if type(value) is list and self.items is not None:
            value[:] = [self.items.apply(item, key) for item in value]
            return value
        return REDACTED  # not what was planned: no telling what is personal in it

    def with_key(self, key: bytes | None) -> Callable[[Any], Any]:
        """`apply` with this key."""
        return lambda value: self.apply(value, key)
