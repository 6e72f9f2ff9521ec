"""Drafts a plan from real events.

Every field's types, presence, values, ranges and formats are gathered in one pass with bounded
memory a field, and written down as a plan that admits every event it was drafted from. Where the
data cannot tell a rule from a coincidence, no rule is drafted: an enum needs values that repeat,
a range needs enough numbers and only natural bounds (0, 0 to 1) are proposed. Values of fields
that look personal never reach the draft.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from desirepath.errors import InputError
from desirepath.plan import personal
from desirepath.plan.emit import nameable, to_yaml
from desirepath.plan.flat import json_type
from desirepath.plan.reader import MAX_BYTES
from desirepath.plan.records import Call, Skipped, read_calls

__all__ = ["Draft", "Personal", "draft", "infer"]

_MAX_ENUM_VALUES: Final = 12
_MAX_ENUM_LENGTH: Final = 40
_MIN_REPEATS: Final = 8
"""An enum is drafted when the values occur this often on average."""
_MIN_SEEN: Final = 2
"""A field is drafted as required when it was in every one of at least this many."""
_MIN_NUMBERS: Final = 10
"""A range is drafted from this many numbers on."""
_MAX_KEYS: Final = 200
"""An object with more keys than this is a map, its keys are data: it is drafted as `object`."""
_MAX_DEPTH: Final = 10
"""What is nested deeper than this is drafted as `object` or `array`."""
_KEPT_SKIPS: Final = 20

_STANDARD_CONTEXT: Final = frozenset(
    {
        "active",
        "app",
        "campaign",
        "channel",
        "device",
        "direct",
        "groupId",
        "ip",
        "library",
        "locale",
        "location",
        "network",
        "os",
        "page",
        "plan",
        "referrer",
        "screen",
        "sessionId",
        "sessionStart",
        "timezone",
        "traits",
        "userAgent",
        "userAgentData",
        "protocols",
        "metaData",
    }
)
"""Context that Segment's and RudderStack's own libraries add; there is nothing to plan in it."""


class Personal(msgspec.Struct, frozen=True):
    """A field that looks personal: where, why, and what the draft does with it."""

    pointer: str
    reason: str
    treatment: personal.Treatment


class Draft(msgspec.Struct, frozen=True):
    """A drafted plan and how it came about.

    Parameters
    ----------
    plan
        The plan as plain data.
    text
        The plan as a file, with comments.
    calls
        How many calls it was drafted from.
    personal
        The fields flagged as personal.
    skipped, skipped_total
        The first records that were no events; how many there were.
    """

    plan: dict[str, Any]
    text: str
    calls: int
    personal: tuple[Personal, ...]
    skipped: tuple[Skipped, ...]
    skipped_total: int


def infer(
    paths: Sequence[str | Path],
    *,
    name: str | None = None,
    mapping: Mapping[str, str] | None = None,
    event: str | None = None,
    ignore: Sequence[str] = (),
) -> Draft:
    """Draft a plan from files of recorded events (see `desirepath.plan.records.read_calls`).

    Raises
    ------
    InputError
        A file cannot be read, or no record in all of them is an event.
    """
    records = read_calls(paths, mapping=mapping, event=event, ignore=ignore)
    return draft(records, name=name or _slug(Path(paths[0]).name.partition(".")[0]))


def draft(records: Iterable[Call | Skipped], *, name: str) -> Draft:
    """Draft a plan named `name` from calls."""
    gathered = _Gathered()
    for record in records:
        gathered.add(record)
    if not gathered.calls:
        if not gathered.skipped:
            raise InputError("no event found: the input is empty")
        first = gathered.skipped[0]
        hint = "Name the field that holds it, --map event=FIELD, or all events: --event NAME."
        if first.reason.startswith("not JSON"):
            hint = "One JSON object a line, or a table in a file that ends in .csv or .tsv."
        raise InputError(f"{first.place}: no event found: {first.reason}", hint=hint)
    return gathered.draft(name)


def _slug(text: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    return slug if slug and slug[0].isalpha() else f"plan_{slug}".rstrip("_")


class _Gathered:
    def __init__(self) -> None:
        self.calls = 0
        self.skipped: list[Skipped] = []
        self.skipped_total = 0
        self.events: dict[str, _Shape] = {}
        self.sections = {name: _Shape() for name in ("traits", "groups", "context")}

    def add(self, record: Call | Skipped) -> None:
        if isinstance(record, Skipped):
            self.skipped_total += 1
            if len(self.skipped) < _KEPT_SKIPS:
                self.skipped.append(record)
            return
        if record.event and not nameable(record.event):
            self.add(Skipped(record.place, f"a name no plan can hold: {record.event[:60]!r}"))
            return
        self.calls += 1
        own = {key: value for key, value in record.context.items() if key not in _STANDARD_CONTEXT}
        if own:
            self.sections["context"].add(own)
        if record.event:
            shape = self.events.get(record.event)
            if shape is None:
                shape = self.events[record.event] = _Shape()
            shape.add(record.payload)
        elif record.kind == "identify":
            self.sections["traits"].add(record.payload)
        elif record.kind == "group":
            self.sections["groups"].add(record.payload)

    def draft(self, name: str) -> Draft:
        flags: list[Personal] = []
        plan: dict[str, Any] = {"plan": name, "version": "0.1.0"}
        for section, shape in self.sections.items():
            if shape.fields:
                # Calls carry parts of a profile: nothing in them is required.
                plan[section] = _properties(shape, f"/{section}", flags, required=False)
        events = {}
        for event, shape in sorted(self.events.items()):
            pointer = f"/events/{_escape(event)}/properties"
            properties = _properties(shape, pointer, flags, required=True)
            planned: dict[str, Any] = {"properties": properties} if properties else {}
            if shape.fields is None or len(properties) < len(shape.fields):
                # Keys that are data, or that no plan can name, such as PostHog's `$os`.
                planned["unplanned_properties"] = "accept"
            events[event] = planned
        if events:
            plan["events"] = events
        notes = {flag.pointer: f"looks like {flag.reason}: check this" for flag in flags}
        header = (
            f"Drafted by `desirepath plan infer` from {self.calls:,} call{'s' * (self.calls > 1)}. "
            "Read it through: give",
            "every event a description and an owner, and tighten what you know better.",
        )
        if any(
            shape.fields is None or not all(nameable(key, top=True) for key in shape.fields)
            for shape in (self.sections["traits"], self.sections["groups"])
        ):
            plan["defaults"] = {"unplanned_properties": "accept"}
        text = to_yaml(plan, header=header, notes=notes)
        if len(text.encode()) > MAX_BYTES:
            raise InputError(
                f"the draft of {len(events):,} events is larger than 1 MiB, the most a plan can be",
                hint="Do the events' names hold data? Name another field: --map event=FIELD.",
            )
        return Draft(
            plan=plan,
            text=text,
            calls=self.calls,
            personal=tuple(flags),
            skipped=tuple(self.skipped),
            skipped_total=self.skipped_total,
        )


class _Shape:
    """What was seen of one field, in memory that does not grow with the number of events."""

    __slots__ = (
        "counts",
        "depth",
        "fields",
        "formats",
        "high",
        "items",
        "low",
        "objects",
        "personal",
        "seen",
        "values",
    )

    def __init__(self, depth: int = 0) -> None:
        self.depth = depth
        self.seen = 0
        self.counts: Counter[str] = Counter()
        self.low: float | None = None
        self.high: float | None = None
        self.values: Counter[str] | None = Counter()
        self.formats = list(_FORMATS)
        self.personal: Counter[tuple[str, personal.Treatment]] = Counter()
        self.objects = 0
        self.fields: dict[str, _Shape] | None = {}
        self.items: _Shape | None = None

    def add(self, value: Any) -> None:
        self.seen += 1
        kind = json_type(value)
        self.counts[kind] += 1
        if kind == "string":
            self._add_string(value)
        elif kind in ("integer", "number"):
            self.low = value if self.low is None else min(self.low, value)
            self.high = value if self.high is None else max(self.high, value)
        elif self.depth >= _MAX_DEPTH:
            pass
        elif kind == "object":
            self._add_object(value)
        elif kind == "array":
            if self.items is None:
                self.items = _Shape(self.depth + 1)
            for item in value:
                self.items.add(item)

    def _add_string(self, value: str) -> None:
        if self.values is not None:
            if len(value) > _MAX_ENUM_LENGTH:
                self.values = None
            else:
                self.values[value] += 1
                if len(self.values) > _MAX_ENUM_VALUES:
                    self.values = None
        if self.formats:
            self.formats = [name for name in self.formats if _FORMATS[name](value)]
        look = personal.by_value(value)
        if look is not None:
            self.personal[look] += 1

    def _add_object(self, value: Mapping[str, Any]) -> None:
        self.objects += 1
        if self.fields is None:
            return
        for key, item in value.items():
            field = self.fields.get(key)
            if field is None:
                field = self.fields[key] = _Shape(self.depth + 1)
            field.add(item)
        if len(self.fields) > _MAX_KEYS:
            self.fields = None


def _properties(
    shape: _Shape, pointer: str, flags: list[Personal], *, required: bool
) -> dict[str, Any]:
    properties = {}
    for name, field in (shape.fields or {}).items():
        if not nameable(name, top=shape.depth == 0):
            continue
        schema = _schema(field, f"{pointer}/{_escape(name)}", name, flags)
        always = field.seen == shape.objects >= _MIN_SEEN
        if required and always and schema.get("pii") != "drop":
            types = {"type": schema.pop("type")} if "type" in schema else {}
            schema = {**types, "required": True, **schema}
        short = list(schema) == ["type"] and isinstance(schema["type"], str)
        properties[name] = schema["type"] if short else schema
    return properties


def _schema(field: _Shape, pointer: str, name: str, flags: list[Personal]) -> dict[str, Any]:
    flag = _personal(field, name)
    # A field that was never anything but null tells nothing about its type.
    schema: dict[str, Any] = {} if set(field.counts) == {"null"} else {"type": _types(field)}
    if flag is None:
        schema.update(_strings(field))
        schema.update(_numbers(field))
    else:
        flags.append(Personal(pointer, *flag))
        schema["pii"] = flag[1]
    if flag is None and field.fields:
        schema["properties"] = _properties(field, f"{pointer}/properties", flags, required=True)
    if flag is None and field.items is not None and field.items.seen:
        schema["items"] = _schema(field.items, f"{pointer}/items", "", flags)
    return schema


def _types(field: _Shape) -> str | list[str]:
    kinds = set(field.counts)
    if "number" in kinds:
        kinds.discard("integer")
    ordered = [kind for kind in _TYPE_ORDER if kind in kinds]
    return ordered[0] if len(ordered) == 1 else ordered


_TYPE_ORDER: Final[tuple[str, ...]] = (
    "string",
    "integer",
    "number",
    "boolean",
    "array",
    "object",
    "null",
)


def _strings(field: _Shape) -> dict[str, Any]:
    strings = field.counts["string"]
    if not strings:
        return {}
    if field.formats:
        return {"format": field.formats[0]}
    alone = set(field.counts) <= {"string", "null"}
    if (
        field.values
        and len(field.values) > 1
        and alone
        and strings >= _MIN_REPEATS * len(field.values)
    ):
        values: list[str | None] = [*sorted(field.values)]
        return {"enum": [*values, None] if field.counts["null"] else values}
    return {}


def _numbers(field: _Shape) -> dict[str, Any]:
    numbers = field.counts["integer"] + field.counts["number"]
    if numbers < _MIN_NUMBERS or field.low is None or field.high is None or field.low < 0:
        return {}
    if field.counts["number"] and field.high <= 1:
        return {"minimum": 0, "maximum": 1}
    return {"minimum": 0}


def _personal(field: _Shape, name: str) -> tuple[str, personal.Treatment] | None:
    # A list of addresses is as personal as one; the plan marks the property, not its items.
    shapes = [field]
    while shapes[-1].items is not None:
        shapes.append(shapes[-1].items)
    scalars = 0
    for shape in shapes:
        strings = shape.counts["string"]
        scalars += strings + shape.counts["integer"] + shape.counts["number"]
        for (what, treatment), count in shape.personal.most_common(1):
            # One address in twenty texts is enough; the check digit of a card number fits one
            # number in ten by chance, so those must be the rule in the field.
            if count * (20 if what == "an e-mail address" else 2) >= strings:
                return f"{what}, by its values", treatment
    guess = personal.by_name(name)
    if guess is None or not scalars:
        return None
    if field.values and {value.lower() for value in field.values} <= _ANSWERS:
        return None  # `PhoneService: Yes` is no phone number
    return f"{guess[0]}, by its name", guess[1]


_ANSWERS: Final = frozenset({"", "yes", "no", "y", "n", "true", "false", "none", "unknown"})


def _escape(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DATE_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?"
    r"(?:Z|[+-][0-9]{2}:[0-9]{2})"
)
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_EMAIL: Final = re.compile(r"[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
_URI: Final = re.compile(r"https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:/[A-Za-z0-9_.~/-]*)?")


def _is_date(value: str) -> bool:
    if not _DATE.fullmatch(value):
        return False
    try:
        date.fromisoformat(value)
    except ValueError:
        return False
    return True


def _is_date_time(value: str) -> bool:
    if not _DATE_TIME.fullmatch(value):
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def _is_ipv4(value: str) -> bool:
    try:
        ipaddress.IPv4Address(value)
    except ValueError:
        return False
    return True


# Stricter than the formats themselves: what a value must look like for the format to be meant.
_FORMATS: Final[dict[str, Callable[[str], bool]]] = {
    "uuid": lambda value: _UUID.fullmatch(value) is not None,
    "date-time": _is_date_time,
    "date": _is_date,
    "email": lambda value: _EMAIL.fullmatch(value) is not None,
    "ipv4": _is_ipv4,
    "uri": lambda value: _URI.fullmatch(value) is not None,
}
