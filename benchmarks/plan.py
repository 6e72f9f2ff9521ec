"""How fast a plan checks events, beside pydantic v2, fastjsonschema and jsonschema.

Every contestant gets the same bytes (whole events of about 600 bytes, 10 properties with types,
enum, ranges and patterns, in the order an app wrote them) and answers whether the event is valid
for its type. All run in one process, interleaved round by round; the figure is the CPU time of
the best round, the ratio is what counts. A peer that is not installed is left out:

    python -m venv /tmp/peers
    /tmp/peers/bin/pip install -e . pydantic fastjsonschema jsonschema
    /tmp/peers/bin/python benchmarks/plan.py [--json]

What each does: `desirepath` decodes the envelope and checks properties and context, finds
duplicate keys and numbers that would change, and gives the bytes to keep. `pydantic` validates
the JSON against a union of models told apart by the event's name; `pydantic, written again` also
writes the properties as JSON, as somebody has to before they are stored. `fastjsonschema` and
`jsonschema` get the parsed event and the schema of its type. In the rows `properties only` each
gets the bytes of the properties and the name of the event.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import random
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Literal, Union

import msgspec

from desirepath.plan import Plan

EVENTS = 10_000
ROUNDS = 7

PROPERTIES: dict[str, dict[str, Any]] = {
    "order_id": {"type": "string", "pattern": "^A-[0-9]{4}-[0-9]{6}$"},
    "total": {"type": "number", "minimum": 0},
    "shipping": {"type": "number", "minimum": 0, "maximum": 1000},
    "currency": {"type": "string", "pattern": "^[A-Z]{3}$"},
    "payment_method": {"type": "string", "enum": ["card", "invoice", "paypal", "voucher"]},
    "quantity": {"type": "integer", "minimum": 1, "maximum": 1000},
    "new_customer": {"type": "boolean"},
    "coupon": {"type": "string", "maxLength": 50},
    "rating": {"type": "integer", "minimum": 1, "maximum": 5},
    "product": {"type": "string", "minLength": 1, "maxLength": 100},
}
REQUIRED = ["order_id", "total"]
APP_VERSION = {"type": "string", "pattern": "^[0-9]+\\.[0-9]+"}


class Envelope(msgspec.Struct, gc=False, kw_only=True):
    type: str
    event: str
    messageId: str  # noqa: N815
    anonymousId: str = ""  # noqa: N815
    userId: str = ""  # noqa: N815
    timestamp: datetime
    sentAt: datetime  # noqa: N815
    integrations: dict[str, Any]
    properties: msgspec.Raw
    context: msgspec.Raw


def make_events(types: int, whole: bool, wrong: bool) -> list[tuple[str, bytes]]:
    rng = random.Random(7)
    order = [*PROPERTIES]
    rng.shuffle(order)
    contexts = [
        {"library": {"name": "desirepath-python", "version": f"0.{n}.0"}, "locale": "sv-SE",
         "app_version": f"4.{n}.1", "plan": "shop@1.0.0"}
        for n in range(20)
    ]  # fmt: skip
    events = []
    for _ in range(EVENTS):
        values = {
            "order_id": f"A-2026-{rng.randrange(1_000_000):06}",
            "total": round(rng.uniform(1, 900), 2),
            "shipping": rng.choice([0, 4.9, 9.9]),
            "currency": rng.choice(["EUR", "SEK", "USD"]),
            "payment_method": rng.choice(["card", "invoice", "paypal", "voucher"]),
            "quantity": rng.randint(1, 9),
            "new_customer": rng.random() < 0.3,
            "coupon": rng.choice(["SPRING-2026", "WELCOME"]),
            "rating": rng.randint(1, 5),
            "product": f"Product number {rng.randrange(500)} with a name",
        }
        if wrong:
            values |= {"total": -1, "currency": "euro", "quantity": "3"}
        event = {
            "type": "track",
            "event": f"Order Completed {rng.randrange(types)}",
            "messageId": str(uuid.UUID(int=rng.getrandbits(128))),
            "anonymousId": str(uuid.UUID(int=rng.getrandbits(128))),
            "userId": f"user-{rng.randrange(10_000)}",
            "timestamp": "2026-01-15T10:22:33.123Z",
            "sentAt": "2026-01-15T10:22:34.456Z",
            "integrations": {},
            "properties": {name: values[name] for name in order},
            "context": rng.choice(contexts),
        }
        sent = event if whole else event["properties"]
        raw = json.dumps(sent, separators=(",", ":")).encode()
        events.append((str(event["event"]), raw))
    return events


Verdict = Callable[[str, bytes], bool]
"""From an event's name and its JSON to whether it is valid."""


def desirepath(types: int, whole: bool) -> Verdict:
    properties = {
        name: {**schema, "required": name in REQUIRED} for name, schema in PROPERTIES.items()
    }
    document = {
        "plan": "bench",
        "version": "1.0.0",
        "context": {"app_version": APP_VERSION},
        "events": {f"Order Completed {n}": {"properties": properties} for n in range(types)},
    }
    check = Plan.parse(json.dumps(document)).compile().check
    decode = msgspec.json.Decoder(Envelope).decode
    taken = msgspec.json.Encoder().encode  # the bytes of a Raw, faster than bytes()

    def of_event(_: str, raw: bytes) -> bool:
        event = decode(raw)
        answer = check("track", event.event, taken(event.properties), taken(event.context))
        return answer.decision == "accept"

    def of_properties(name: str, raw: bytes) -> bool:
        return check("track", name, raw).decision == "accept"

    return of_event if whole else of_properties


def _models(types: int) -> tuple[Any, dict[str, Any], Any]:
    library = importlib.import_module("pydantic")
    names = {
        "minimum": "ge", "maximum": "le", "minLength": "min_length", "maxLength": "max_length",
        "pattern": "pattern",
    }  # fmt: skip
    kinds: Any = {"string": str, "number": float, "integer": int, "boolean": bool}
    config = library.ConfigDict(extra="forbid", strict=True)
    fields: Any = {}
    for name, schema in PROPERTIES.items():
        meta = {names[key]: value for key, value in schema.items() if key in names}
        kind = Literal[tuple(schema["enum"])] if "enum" in schema else kinds[schema["type"]]
        kind = Annotated[kind, library.Field(**meta)] if meta else kind
        fields[name] = (kind, ...) if name in REQUIRED else (kind, None)
    context = library.create_model(
        "Context",
        __config__=library.ConfigDict(extra="allow", strict=True),
        app_version=(Annotated[str, library.Field(pattern=APP_VERSION["pattern"])], ""),
    )
    models = {
        f"Order Completed {n}": library.create_model(f"Properties{n}", __config__=config, **fields)
        for n in range(types)
    }
    events = [
        library.create_model(
            f"Event{n}",
            __config__=config,
            type=(Literal["track"], ...),
            event=(Literal[name], ...),
            messageId=(str, ...),
            anonymousId=(str, ""),
            userId=(str, ""),
            timestamp=(datetime, ...),
            sentAt=(datetime, ...),
            integrations=(dict[str, Any], ...),
            properties=(model, ...),
            context=(context, ...),
        )
        for n, (name, model) in enumerate(models.items())
    ]
    union = Annotated[Union[tuple(events)], library.Field(discriminator="event")]  # noqa: UP007
    return library.TypeAdapter(union), models, library.ValidationError


def pydantic(types: int, whole: bool) -> Verdict:
    adapter, models, error = _models(types)

    def verdict(name: str, raw: bytes) -> bool:
        try:
            if whole:
                adapter.validate_json(raw)
            else:
                models[name].model_validate_json(raw)
        except error as reason:
            reason.errors()
            return False
        return True

    return verdict


def pydantic_written_again(types: int, whole: bool) -> Verdict:
    adapter, models, _ = _models(types)

    def verdict(name: str, raw: bytes) -> bool:
        if whole:
            properties = adapter.validate_json(raw).properties
        else:
            properties = models[name].model_validate_json(raw)
        properties.model_dump_json(exclude_unset=True)
        return True

    return verdict


def _schema(n: int, whole: bool) -> dict[str, Any]:
    properties = {
        "type": "object", "properties": PROPERTIES, "required": REQUIRED,
        "additionalProperties": False,
    }  # fmt: skip
    text = {"type": "string"}
    event = {
        "type": "object",
        "properties": {
            "type": {"const": "track"}, "event": {"const": f"Order Completed {n}"},
            "messageId": text, "anonymousId": text, "userId": text, "timestamp": text,
            "sentAt": text, "integrations": {"type": "object"},
            "properties": properties,
            "context": {"type": "object", "properties": {"app_version": APP_VERSION}},
        },
        "required": ["type", "event", "messageId", "properties", "context"],
        "additionalProperties": False,
    }  # fmt: skip
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        **(event if whole else properties),
    }


def fastjsonschema(types: int, whole: bool) -> Verdict:
    library = importlib.import_module("fastjsonschema")
    checks = {f"Order Completed {n}": library.compile(_schema(n, whole)) for n in range(types)}

    def verdict(name: str, raw: bytes) -> bool:
        event = json.loads(raw)
        try:
            checks[event["event"] if whole else name](event)
        except library.JsonSchemaValueException:
            return False
        return True

    return verdict


def jsonschema(types: int, whole: bool) -> Verdict:
    library = importlib.import_module("jsonschema")
    checks = {
        f"Order Completed {n}": library.Draft7Validator(_schema(n, whole)) for n in range(types)
    }

    def verdict(name: str, raw: bytes) -> bool:
        event = json.loads(raw)
        return not list(checks[event["event"] if whole else name].iter_errors(event))

    return verdict


CONTESTANTS: dict[str, Callable[[int, bool], Verdict]] = {
    "desirepath": desirepath,
    "pydantic": pydantic,
    "pydantic, written again": pydantic_written_again,
    "fastjsonschema": fastjsonschema,
    "jsonschema": jsonschema,
}

Run = tuple[Verdict, list[tuple[str, bytes]], bool]


def measure(runs: dict[str, Run]) -> dict[str, float]:
    """CPU microseconds an event: the best of the rounds in which everyone takes a turn."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    gc.collect()
    gc.disable()
    for _ in range(ROUNDS):
        for name, (verdict, events, expected) in runs.items():
            some = events[:100] if name.startswith("jsonschema") else events
            start = time.process_time()
            for event, raw in some:
                if verdict(event, raw) is not expected:
                    raise SystemExit(f"{name} disagrees on {raw!r}")
            times[name].append((time.process_time() - start) / len(some) * 1e6)
    gc.enable()
    return {name: min(some) for name, some in times.items()}


def compile_cost() -> dict[str, float]:
    """CPU seconds and MiB to load and compile 500 events of 20 properties, in a new process."""
    program = """
import re, time
from desirepath.plan import Plan
kinds = ["{type: string, minLength: 1, maxLength: 100}", "{type: number, minimum: 0}",
         "{type: string, pattern: '^[A-Z]{3}$'}", "{enum: [a, b, c]}",
         "{type: integer, minimum: 1}"]
lines = ["plan: big", "version: 1.0.0", "events:"]
for n in range(500):
    lines += [f"  Event {n}:", "    properties:"]
    lines += [f"      property_{k}: {kinds[k % 5]}" for k in range(20)]
text = "\\n".join(lines)
def memory():
    with open("/proc/self/status") as status:
        return int(re.search(r"VmHWM:\\s+(\\d+)", status.read())[1])
before = memory()
start = time.process_time()
plan = Plan.parse(text)
loaded = time.process_time()
validator = plan.compile()
done = time.process_time()
print(loaded - start, done - loaded, (memory() - before) / 1024)
"""
    shown = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout
    load, build, memory = map(float, shown.split())
    return {"load_s": load, "compile_s": build, "memory_mib": memory}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    args = parser.parse_args()

    runs: dict[str, Run] = {}
    missing = []
    cases = [
        ("5 types", 5, True, False),
        ("500 types", 500, True, False),
        ("properties only", 5, False, False),
        ("3 violations", 5, True, True),
    ]
    for case, types, whole, wrong in cases:
        events = make_events(types, whole, wrong)
        for name, contestant in CONTESTANTS.items():
            if wrong and name == "pydantic, written again":
                continue
            try:
                runs[f"{name} / {case}"] = (contestant(types, whole), events, not wrong)
            except ModuleNotFoundError:
                missing.append(name)
    size = statistics.mean(len(raw) for _, raw in make_events(5, True, False))
    figures = measure(runs)
    ours = figures["desirepath / 5 types"]
    costs = compile_cost()
    if args.json:
        print(json.dumps({"microseconds": figures, "compile": costs, "bytes": size}))
        return 0
    print(f"{EVENTS:,} events of {size:.0f} bytes, {ROUNDS} interleaved rounds\n")
    print(f"{'':<36}{'us/event':>10}{'desirepath is':>18}", end="")
    for name, microseconds in figures.items():
        base = figures["desirepath" + name[name.index(" /") :]]
        ratio = f"{microseconds / base:.1f}x faster" if not name.startswith("desirepath") else ""
        if name.startswith("desirepath"):
            print()
        print(f"{name:<36}{microseconds:>10.2f}{ratio:>18}")
    print(f"\n500 types / 5 types: {figures['desirepath / 500 types'] / ours:.2f}")
    print(f"3 violations / valid: {figures['desirepath / 3 violations'] / ours:.1f}")
    print(
        f"500 events x 20 properties: load {costs['load_s']:.2f} s, "
        f"compile {costs['compile_s']:.2f} s, {costs['memory_mib']:.0f} MiB"
    )
    for name in dict.fromkeys(missing):
        print(f"({name} is not installed: see the top of this file)")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
