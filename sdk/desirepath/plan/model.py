"""What a plan says, as frozen values.

A `Plan` is made by the strict loader only, so whoever holds one may rely on it: every constraint
is supported, every `$ref` is resolved, every event, property, trait, segment and journey that a
section names exists, and `source` alone is enough to make the same plan again elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

if TYPE_CHECKING:
    from desirepath.plan.compiler import Validator

__all__ = [
    "PII",
    "POLICIES",
    "STATUSES",
    "Defaults",
    "Event",
    "Pii",
    "Place",
    "Plan",
    "Policy",
    "Property",
    "Section",
    "Status",
]

Policy = Literal["reject", "drop", "accept"]
"""What becomes of a violation: the event is quarantined, the property removed, or all is kept."""

Status = Literal["planned", "live", "deprecated"]

Pii = Literal["hash", "drop", "keep"]
"""What becomes of a personal value before it touches a disk."""

POLICIES: Final[tuple[Policy, ...]] = ("reject", "drop", "accept")
STATUSES: Final[tuple[Status, ...]] = ("planned", "live", "deprecated")
PII: Final[tuple[Pii, ...]] = ("hash", "drop", "keep")


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where something is written; line and column count from 1."""

    path: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}"


class Defaults(msgspec.Struct, frozen=True):
    """What holds where an event does not say otherwise."""

    on_violation: Policy = "reject"
    unplanned_events: Policy = "reject"
    unplanned_properties: Policy = "reject"


class Property(msgspec.Struct, frozen=True):
    """One property of an event, one trait, or one key of the context.

    Parameters
    ----------
    schema
        Its constraints: plain JSON Schema 2020-12, `$ref`s resolved. A boolean schema is written
        as `{}` or `{"not": {}}`. Nested properties may carry our `pii` and `unit` keys.
    """

    name: str
    schema: Mapping[str, Any]
    required: bool
    pii: Pii | None
    unit: str | None
    description: str
    place: Place


class Event(msgspec.Struct, frozen=True):
    """One planned event. Its policies are the effective ones, the defaults filled in."""

    name: str
    description: str
    owner: str
    status: Status
    properties: Mapping[str, Property]
    on_violation: Policy
    unplanned_properties: Policy
    place: Place


class Section(msgspec.Struct, frozen=True):
    """A journey, segment, metric, model or experiment: plain data exactly as written."""

    name: str
    spec: Mapping[str, Any]
    place: Place


class Plan(msgspec.Struct, frozen=True):
    """One tracking plan.

    Parameters
    ----------
    source
        UTF-8 text that `Plan.parse` turns into this plan again: the file as it is written, or,
        where it includes others, one JSON document (which is YAML) with all of them in it.
    digest
        SHA-256 of `source`, in hex.
    types
        The named types, resolved, as plain JSON Schema.
    type_uses
        How often each type is referred to, also by other types.
    """

    name: str
    version: str
    description: str
    owner: str
    defaults: Defaults
    types: Mapping[str, Mapping[str, Any]]
    type_uses: Mapping[str, int]
    context: Mapping[str, Property]
    traits: Mapping[str, Property]
    groups: Mapping[str, Property]
    events: Mapping[str, Event]
    journeys: Mapping[str, Section]
    segments: Mapping[str, Section]
    metrics: Mapping[str, Section]
    models: Mapping[str, Section]
    experiments: Mapping[str, Section]
    path: str
    source: bytes
    digest: str

    @classmethod
    def load(cls, path: str | Path) -> Plan:
        """Read a plan file and what it includes.

        Raises
        ------
        PlanError
            With the place of the first mistake and, often, what to write instead.
        """
        from desirepath.plan.loader import load

        return load(path)

    @classmethod
    def parse(cls, text: str | bytes, path: str = "<plan>") -> Plan:
        """Read a plan's text; `path` only names it in errors. Never opens a file.

        Raises
        ------
        PlanError
            As `load` does, and when the text includes other files.
        """
        from desirepath.plan.loader import parse

        return parse(text, path)

    def compile(self, *, pii_key: bytes | None = None) -> Validator:
        """Make the validator of this plan.

        Parameters
        ----------
        pii_key
            The key of the HMAC that replaces values marked `pii: hash`; at least 16 bytes.
            Without one these values are replaced by `"[pii]"`, never hashed without a key.

        Raises
        ------
        SettingsError
            If the key is too short.
        """
        from desirepath.plan.compiler import Validator

        return Validator(self, pii_key=pii_key)
