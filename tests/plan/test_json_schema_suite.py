"""The official JSON-Schema-Test-Suite, draft 2020-12, for every keyword that a plan supports.

Each schema is put into a plan as the property `value`, each instance sent as an event's payload,
and accepted must mean valid. What the loader refuses is listed below by name, so that neither a
lost keyword nor a new one goes unnoticed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from desirepath.errors import PlanError
from desirepath.plan import Plan
from desirepath.plan.formats import FORMATS
from desirepath.plan.keywords import KEYWORDS, OURS, UNSUPPORTED

SUITE = Path(__file__).parent / "json_schema_suite"

REFUSED = {
    # Names that could not be columns.
    "properties with escaped characters": "has a quote, backslash or control character in it",
    # Patterns with Unicode property escapes.
    "patterns always use unicode semantics with pattern": "`\\p{...}` is not supported",
    "pattern with non-ASCII digits": "`\\p{...}` is not supported",
}
"""What the loader refuses beside the keywords of `UNSUPPORTED`, and with which words."""


def groups() -> list[Any]:
    files = sorted(SUITE.rglob("*.json"))
    return [
        pytest.param(group, id=f"{file.relative_to(SUITE)}: {group['description']}")
        for file in files
        for group in json.loads(file.read_text())
    ]


def plan_of(schema: Any) -> Plan:
    if isinstance(schema, dict):
        schema = {key: value for key, value in schema.items() if key != "$schema"}
    event = {"properties": {"value": schema}}
    document = {"plan": "suite", "version": "1.0.0", "events": {"Sent": event}}
    return Plan.parse(json.dumps(document, indent=0, ensure_ascii=False))


def unsupported(schema: Any) -> str | None:
    """The words with which a schema's first unsupported keyword is refused."""
    if isinstance(schema, list):
        return next(filter(None, map(unsupported, schema)), None)
    if not isinstance(schema, dict):
        return None
    for key, value in schema.items():
        if key in UNSUPPORTED and key != "$schema":
            return f"the keyword `{key}` is not supported"
        if key not in ("const", "enum", "default") and (found := unsupported(value)):
            return found
    return None


@pytest.mark.parametrize("group", groups())
def test_a_plan_means_what_json_schema_means(group: dict[str, Any]) -> None:
    reason = REFUSED.get(group["description"]) or unsupported(group["schema"])
    if reason is not None:
        with pytest.raises(PlanError) as error:
            plan_of(group["schema"])
        assert reason in str(error.value)
        return
    validator = plan_of(group["schema"]).compile()
    for test in group["tests"]:
        payload = json.dumps({"value": test["data"]}).encode()
        for raw in (payload, json.dumps({"value": test["data"]}, separators=(",", ":")).encode()):
            verdict = validator.check("track", "Sent", raw)
            assert (verdict.decision == "accept") == test["valid"], (test, verdict)


def test_the_suite_has_every_supported_keyword_and_format() -> None:
    files = {file.stem for file in SUITE.glob("*.json")}
    conditional = {"if", "then", "else"}
    assert {*KEYWORDS} - {*OURS} - conditional <= files | {"format", "if-then-else", "required"}
    assert REFUSED.keys() <= {group.values[0]["description"] for group in groups()}
    assert {*FORMATS} == {file.stem for file in (SUITE / "format").glob("*.json")}
