"""Events that broke their plan: looking at them, mending them, sending them in again.

A replay takes rows as they are in the quarantine, applies the repairs, judges them by the live
plan, and inserts those that pass with their own message id and times: it is as if they had been
right when they came. Each row that passes leaves a line in `quarantine_replays`: who was replayed
when, by which repairs, under which plan. A row with such a line is done; replaying again does
nothing, and a replay that died half way is completed by the next. Rows are never changed.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET

from desirepath.errors import InputError
from desirepath.event import PAGE_EVENT, SCREEN_EVENT
from desirepath.plan import Plan, Violation
from desirepath.plan.pii import REDACTED
from desirepath.plan.wire import escape
from desirepath_collector.admit import Admitter
from desirepath_collector.envelope import decode_single, parse_time
from desirepath_collector.settings import Source
from desirepath_collector.warehouse import EventRow, Sql, Warehouse

__all__ = ["Repairs", "Replay", "Selection", "replay", "show", "summary"]

_PAGE_ROWS: Final = 5_000
_CASTS: Final = ("string", "number", "integer", "boolean")

_ANNOTATIONS: Final = frozenset({"pii", "unit", "description", "title", "examples", "default"})

_AUDIT_TABLE: Final = """
CREATE TABLE IF NOT EXISTS quarantine_replays
(
    message_id String COMMENT 'The event that passed',
    event LowCardinality(String) COMMENT 'Its name in the quarantine',
    replayed_at DateTime64(3, 'UTC') COMMENT 'When',
    plan LowCardinality(String) COMMENT 'Name of the plan it passed',
    plan_version LowCardinality(String) COMMENT 'Version of that plan',
    repairs String COMMENT 'What was changed, as JSON',
    by String COMMENT 'Who asked for it'
)
ENGINE = ReplacingMergeTree(replayed_at)
ORDER BY (event, message_id)
COMMENT 'Audit of `desirepath quarantine replay`: one line for each event that passed'
"""

_PENDING: Final = "(event, message_id) NOT IN (SELECT event, message_id FROM quarantine_replays)"

_SUMMARY: Final = (
    """
SELECT event, kind, violation.code AS code, violation.pointer AS pointer,
       uniqExact(message_id) AS events, max(received_at) AS last, any(message_id) AS example
FROM quarantine FINAL
ARRAY JOIN violations AS violation
WHERE """
    + _PENDING
    + """
GROUP BY event, kind, code, pointer
ORDER BY events DESC, event, code, pointer
LIMIT {limit:UInt32}
"""
)

_ONE: Final = "SELECT * FROM quarantine FINAL WHERE message_id = {id:String} LIMIT 1"

_PAGE: Final = (
    """
SELECT message_id, event, source, received_at, sent_at, payload, violations
FROM quarantine FINAL
WHERE """
    + _PENDING
    + """
  AND ({event:String} = '' OR event = {event:String})
  AND ({code:String} = '' OR has(violations.code, {code:String}))
  AND (empty({ids:Array(String)}) OR has({ids:Array(String)}, message_id))
  AND (received_at, message_id) > ({since:DateTime64(3)}, {id:String})
ORDER BY received_at, message_id
LIMIT {limit:UInt32}
"""
)


class Selection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which rows: all that apply together; of those not replayed yet.

    Parameters
    ----------
    event
        Name of the event.
    code
        Code of a violation they have.
    ids
        Message ids.
    since
        RFC 3339; received at this time or later.
    """

    event: str | None = None
    code: str | None = None
    ids: tuple[str, ...] = ()
    since: str | None = None


class Repairs(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to change before judging again; keys are property names, or pointers like `/event`.

    Applied in this order.

    Parameters
    ----------
    rename
        Old name to new name.
    cast
        Name to `string`, `number`, `integer` or `boolean`.
    default
        Name to the value where there is none.
    set
        Name to the value in any case.
    """

    rename: dict[str, str] = {}
    cast: dict[str, str] = {}
    default: dict[str, Any] = {}
    set: dict[str, Any] = {}

    def __post_init__(self) -> None:
        for name, kind in self.cast.items():
            if kind not in _CASTS:
                raise ValueError(f"cannot cast {name} to {kind!r}: {', '.join(_CASTS)}")

    def apply(self, call: dict[str, Any]) -> None:
        """Change one event in place."""
        part = "traits" if call.get("type") in ("identify", "group") else "properties"
        for old, new in self.rename.items():
            holder, key = _place(call, part, old)
            if key in holder:
                target, name = _place(call, part, new)
                target[name] = holder.pop(key)
        for name, kind in self.cast.items():
            holder, key = _place(call, part, name)
            if key in holder:
                holder[key] = _cast(holder[key], kind, _pointer(part, name))
        for name, value in self.default.items():
            holder, key = _place(call, part, name)
            if holder.get(key) is None:
                holder[key] = value
        for name, value in self.set.items():
            holder, key = _place(call, part, name)
            holder[key] = value


class Replay(msgspec.Struct):
    """What a replay did, or, on a dry run, would do.

    Parameters
    ----------
    seen
        Rows that were looked at.
    passed
        Of these, inserted as events.
    refused
        Of these, still broken.
    reasons
        Why: code and pointer to a number of violations, the most frequent first.
    examples
        Of each of these reasons, the first found: what was expected, what was there, which event.
    """

    seen: int = 0
    passed: int = 0
    refused: int = 0
    dry_run: bool = False
    reasons: dict[str, int] = {}
    examples: dict[str, str] = {}


def summary(warehouse: Warehouse, limit: int = 50) -> list[dict[str, Any]]:
    """What is in the quarantine and not replayed, by event and reason, the most frequent first."""
    text = _SUMMARY if _has_audit(warehouse) else _SUMMARY.replace(_PENDING, "1")
    found: list[dict[str, Any]] = warehouse.query(Sql(text, {"limit": limit})).to_pylist()
    return found


def show(warehouse: Warehouse, message_id: str) -> dict[str, Any]:
    """One row of the quarantine, its payload parsed.

    Raises
    ------
    InputError
        If there is none with that id.
    """
    found = warehouse.query(
        Sql(
            "SELECT * FROM quarantine FINAL WHERE message_id = {id:String} LIMIT 1",
            {"id": message_id},
        )
    ).to_pylist()
    if not found:
        raise InputError(f"no event {message_id!r} in the quarantine")
    row: dict[str, Any] = found[0]
    with contextlib.suppress(msgspec.DecodeError):
        row["payload"] = msgspec.json.decode(row["payload"])
    row["replayed"] = None
    if _has_audit(warehouse):
        audits = warehouse.query(
            Sql(
                "SELECT replayed_at, plan, plan_version, repairs, by FROM quarantine_replays FINAL "
                "WHERE message_id = {id:String} LIMIT 1",
                {"id": message_id},
            )
        ).to_pylist()
        row["replayed"] = audits[0] if audits else None
    return row


def replay(
    warehouse: Warehouse,
    admitter: Admitter,
    selection: Selection,
    repairs: Repairs,
    *,
    by: str,
    dry_run: bool = False,
) -> Replay:
    """Mend rows of the quarantine, judge them again, and insert those that pass.

    Parameters
    ----------
    warehouse
        The owner's.
    admitter
        Judges by the live plan, and hashes personal data with this collector's key.
    selection
        Which rows.
    repairs
        What to change.
    by
        Who asks, for the audit.
    dry_run
        Only tell what would happen.
    """
    if not dry_run:
        warehouse.command(Sql(_AUDIT_TABLE))
    done = Replay(dry_run=dry_run)
    reasons: dict[str, int] = {}
    examples: dict[str, str] = {}
    for page in _pages(warehouse, selection):
        rows: list[EventRow] = []
        names: list[str] = []
        for kept in page:
            row, violations = _judged(admitter, kept, repairs)
            done.seen += 1
            if row is not None:
                rows.append(row)
                names.append(kept["event"])
                continue
            done.refused += 1
            for violation in violations:
                key = f"{violation.code} {violation.pointer or '/'}"
                reasons[key] = reasons.get(key, 0) + 1
                examples.setdefault(key, _example(violation, kept["message_id"]))
        done.passed += len(rows)
        if rows and not dry_run:
            warehouse.insert_events(rows, _token(rows))
            _audit(warehouse, rows, names, repairs, by)
    done.reasons = dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0])))
    done.examples = {key: examples[key] for key in done.reasons}
    return done


def _judged(
    admitter: Admitter, kept: Mapping[str, Any], repairs: Repairs
) -> tuple[EventRow | None, Sequence[Violation]]:
    try:
        call = msgspec.json.decode(kept["payload"])
    except msgspec.DecodeError:
        call = None
    if not isinstance(call, dict):
        return None, [Violation("malformed", "", "a JSON object")]
    hidden = _hidden(call, kept["violations"])
    try:
        repairs.apply(call)
    except _CannotRepair as error:
        return None, [Violation("repair", error.pointer, "", str(error))]
    stay = _staying(call, hidden, repairs, admitter.plan_of(kept["source"]))
    # The plan it broke is no reason to break the live one.
    context = call.get("context")
    if isinstance(context, dict):
        context.pop("plan", None)
    call["messageId"] = kept["message_id"]
    batch = decode_single(msgspec.json.encode(call))
    # The client's clock was read when the event came; what it says now would be wrong.
    batch.wires[0].sent_at = kept["sent_at"]
    received_ms = round(kept["received_at"].timestamp() * 1000)
    source = Source(write_key="-", name=kept["source"])
    admitted = admitter.admit(batch, source, received_ms)
    row = admitted.rows[0]
    if isinstance(row, EventRow) and not stay:
        return row, row.violations
    seen = () if isinstance(row, EventRow) else row.violations
    return None, [*stay, *seen]


def _hidden(
    call: dict[str, Any], violations: Sequence[Mapping[str, str]]
) -> list[tuple[Violation, Any]]:
    """The violations of personal values, which cannot be judged again, and what stands there."""
    return [
        (Violation(**one), _value_at(call, one["pointer"]))
        for one in violations
        if one["found"] == REDACTED and one["code"] != "unplanned_property"
    ]


def _staying(
    call: dict[str, Any],
    hidden: Sequence[tuple[Violation, Any]],
    repairs: Repairs,
    plan: Plan | None,
) -> list[Violation]:
    """Of these violations those that the repairs, and the plan of now, leave as they were."""
    part = "traits" if call.get("type") in ("identify", "group") else "properties"
    given = [_pointer(part, name) + "/" for name in repairs.set]
    moved = {_pointer(part, old): _pointer(part, new) for old, new in repairs.rename.items()}
    staying = []
    for violation, value in hidden:
        pointer = moved.get(violation.pointer, violation.pointer)
        if f"{pointer}/".startswith(tuple(given)):
            continue
        if _value_at(call, pointer) == value and _is_constrained(
            plan, call, pointer, violation.code
        ):
            staying.append(Violation(violation.code, pointer, violation.expected, violation.found))
    return staying


def _is_constrained(plan: Plan | None, call: dict[str, Any], pointer: str, code: str) -> bool:
    """Whether a plan may still object to a value of which only the hash is known."""
    part, name, *inner = [*_steps(pointer), "", ""][: max(2, pointer.count("/"))]
    if part not in ("properties", "traits", "context"):
        return True
    if plan is None:
        return False
    policy, properties = plan.defaults.on_violation, plan.context
    kind = call.get("type")
    if part == "traits":
        properties = plan.groups if kind == "group" else plan.traits
    elif part == "properties":
        name_of = {"page": PAGE_EVENT, "screen": SCREEN_EVENT}
        event = plan.events.get(name_of.get(str(kind), str(call.get("event"))))
        if event is None:
            return False
        policy, properties = event.on_violation, event.properties
    found = properties.get(name)
    if found is None or policy == "accept":
        return False
    limits = found.schema.keys() - _ANNOTATIONS
    # What is nested, or may be of any shape, is not looked into: it stays.
    return bool(inner and limits) or bool(limits - {"type"}) or (code == "type" and bool(limits))


def _example(violation: Violation, message_id: str) -> str:
    said = [violation.expected and f"expected {violation.expected}", violation.found]
    if violation.found == REDACTED:
        said[1] = "found a personal value, of which only the hash was kept: --set it"
    elif violation.code != "repair" and violation.found:
        said[1] = f"found {violation.found}"
    return f"{', '.join(one for one in said if one)} ({message_id})"


def _pages(warehouse: Warehouse, selection: Selection) -> Iterator[list[dict[str, Any]]]:
    since = parse_time(selection.since or 0)
    if since is None:
        raise InputError(f"{selection.since!r} is not a time, like 2026-01-31T12:00:00Z")
    params: dict[str, Any] = {
        "event": selection.event or "",
        "code": selection.code or "",
        "ids": list(selection.ids),
        "since": since,
        "id": "",
        "limit": _PAGE_ROWS,
    }
    text = _PAGE if _has_audit(warehouse) else _PAGE.replace(_PENDING, "1")
    while True:
        page = warehouse.query(Sql(text, params)).to_pylist()
        if page:
            yield page
        if len(page) < _PAGE_ROWS:
            return
        params = {**params, "since": page[-1]["received_at"], "id": page[-1]["message_id"]}


def _has_audit(warehouse: Warehouse) -> bool:
    found = warehouse.query(
        Sql(
            "SELECT count() AS n FROM system.tables "
            "WHERE database = currentDatabase() AND name = 'quarantine_replays'"
        )
    ).to_pylist()
    return bool(found[0]["n"])


def _audit(
    warehouse: Warehouse,
    rows: Sequence[EventRow],
    names: Sequence[str],
    repairs: Repairs,
    by: str,
) -> None:
    warehouse.command(
        Sql(
            """
            INSERT INTO quarantine_replays
            SELECT line.1, line.2, now64(3), {plan:String}, {version:String},
                   {repairs:String}, {by:String}
            FROM (
                SELECT arrayJoin(arrayZip({ids:Array(String)}, {names:Array(String)})) AS line
            )
            """,
            {
                "ids": [row.message_id for row in rows],
                "names": list(names),
                "plan": rows[0].plan,
                "version": rows[0].plan_version,
                "repairs": msgspec.json.encode(repairs).decode(),
                "by": by,
            },
        )
    )


def _token(rows: Sequence[EventRow]) -> str:
    return "replay." + hashlib.blake2b(msgspec.json.encode(list(rows)), digest_size=16).hexdigest()


def _place(call: dict[str, Any], part: str, name: str) -> tuple[dict[str, Any], str]:
    """The object that holds a name, and the key in it; missing objects are made."""
    path = _steps(_pointer(part, name))
    holder = call
    for step in path[:-1]:
        inner = holder.setdefault(step, {})
        if not isinstance(inner, dict):
            raise _CannotRepair(_pointer(part, name), f"{step} is not an object")
        holder = inner
    return holder, path[-1]


def _pointer(part: str, name: str) -> str:
    """The JSON pointer of what a repair names."""
    return name if name.startswith("/") else f"/{part}/{escape(name)}"


def _steps(pointer: str) -> list[str]:
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def _value_at(call: Any, pointer: str) -> Any:
    """What a JSON pointer points at; `UNSET` for nothing."""
    for step in _steps(pointer):
        if isinstance(call, list) and step.isdecimal() and int(step) < len(call):
            call = call[int(step)]
        elif isinstance(call, dict) and step in call:
            call = call[step]
        else:
            return UNSET
    return call


class _CannotRepair(Exception):
    def __init__(self, pointer: str, why: str) -> None:
        super().__init__(why)
        self.pointer = pointer


def _cast(value: Any, kind: str, pointer: str) -> Any:
    if value is None:
        return None
    if kind == "string":
        return value if isinstance(value, str) else msgspec.json.encode(value).decode()
    if kind == "boolean":
        words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        found = words.get(str(value).strip().lower())
        if found is None:
            raise _CannotRepair(pointer, f"{value!r} is no boolean")
        return found
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise _CannotRepair(pointer, f"{value!r} is no number") from None
    if number.is_integer() and abs(number) < 2**53:
        return int(number)
    if kind == "integer" or number != number or number in (float("inf"), float("-inf")):
        raise _CannotRepair(pointer, f"{value!r} is no {kind}")
    return number
