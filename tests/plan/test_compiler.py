"""The validator's verdicts: violations, policies, calls of every kind, the context."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from desirepath.plan import Plan, Validator, Verdict, Violation
from desirepath.plan.fastpath import _shape
from desirepath.plan.rule import UNFIT

PLAN = """
plan: t
version: 1.0.0
{defaults}
context:
  app_version: {{type: string, pattern: '^[0-9]+'}}
traits:
  plan: {{enum: [free, pro]}}
groups:
  seats: {{type: integer, minimum: 1}}
events:
  Order Completed:
    properties:
      total: {{type: number, minimum: 0, required: true}}
      currency: {{type: string, pattern: '^[A-Z]{{3}}$'}}
      lines: {{type: array, items: {{type: object, properties: {{sku: string}}}}}}
  {page}
"""


def validator(defaults: str = "{}", page: str = "") -> Validator:
    return Plan.parse(PLAN.format(defaults=f"defaults: {defaults}", page=page)).compile()


def codes(verdict: Verdict) -> list[tuple[str, str]]:
    return [(one.code, one.pointer) for one in verdict.violations]


def test_every_violation_of_an_event_is_listed() -> None:
    bad = validator().check(
        "track",
        "Order Completed",
        b'{"total": -1, "currency": "euro", "lines": [{"sku": 1}, 2], "Total": 3, "x/y~": null}',
        b'{"app_version": "beta", "library": {"name": "js"}}',
    )
    assert bad.decision == "quarantine"
    assert bad.violations == (
        Violation("range", "/properties/total", "at least 0", "-1"),
        Violation("pattern", "/properties/currency", "text matching ^[A-Z]{3}$", '"euro"'),
        Violation("type", "/properties/lines/0/sku", "string", "1"),
        Violation("type", "/properties/lines/1", "object", "2"),
        Violation(
            "unplanned_property", "/properties/Total", "a planned property, such as 'total'", "3"
        ),
        Violation("unplanned_property", "/properties/x~1y~0", "a planned property", "null"),
        Violation("pattern", "/context/app_version", "text matching ^[0-9]+", '"beta"'),
    )


def test_what_is_missing_is_a_violation() -> None:
    verdict = validator().check("track", "Order Completed", b"{}")
    assert verdict.violations == (Violation("missing", "/properties/total", "a value"),)


def test_names_that_are_no_text_are_unplanned() -> None:
    verdict = validator().check("track", "\ud800", b"{}")
    assert verdict.violations[0].found == '"\\ud800"'


def test_a_long_list_of_what_is_expected_is_cut() -> None:
    names = ", ".join(f"name{index}" for index in range(500))
    plan = f"plan: t\nversion: 1.0.0\nevents: {{E: {{properties: {{a: {{enum: [{names}]}}}}}}}}"
    verdict = Plan.parse(plan).compile().check("track", "E", b'{"a":"b"}')
    assert len(verdict.violations[0].expected) == 200


def test_found_is_cut() -> None:
    raw = json.dumps({"total": "x" * 1000}).encode()
    found = validator().check("track", "Order Completed", raw).violations[0].found
    assert len(found) == 200
    assert found.endswith("x…")


@pytest.mark.parametrize(
    ("policy", "decision", "kept"),
    [
        ("reject", "quarantine", b'{"total":1,"currency":"euro"}'),
        ("drop", "accept", b'{"total":1}'),
        ("accept", "accept", b'{"total":1,"currency":"euro"}'),
    ],
)
def test_policies_of_a_violation(policy: str, decision: str, kept: bytes) -> None:
    checker = validator(f"{{on_violation: {policy}}}")
    verdict = checker.check("track", "Order Completed", b'{"total":1,"currency":"euro"}')
    assert (verdict.decision, verdict.payload) == (decision, kept)
    assert codes(verdict) == [("pattern", "/properties/currency")]


@pytest.mark.parametrize(
    ("policy", "decision", "kept"),
    [
        ("reject", "quarantine", b'{"x":1,"total":1}'),
        ("drop", "accept", b'{"total":1}'),
        ("accept", "accept", b'{"x":1,"total":1}'),
    ],
)
def test_policies_of_an_unplanned_property(policy: str, decision: str, kept: bytes) -> None:
    checker = validator(f"{{unplanned_properties: {policy}}}")
    verdict = checker.check("track", "Order Completed", b'{"x":1,"total":1}')
    assert (verdict.decision, verdict.payload) == (decision, kept)
    assert codes(verdict) == [("unplanned_property", "/properties/x")]


@pytest.mark.parametrize(
    ("policy", "decision", "kept"),
    [
        ("reject", "quarantine", b'{"x":1}'),
        ("drop", "accept", b"{}"),
        ("accept", "accept", b'{"x":1}'),
    ],
)
def test_policies_of_an_unplanned_event(policy: str, decision: str, kept: bytes) -> None:
    verdict = validator(f"{{unplanned_events: {policy}}}").check(
        "track", "order_completed", b'{"x":1}'
    )
    assert (verdict.decision, verdict.payload) == (decision, kept)
    expected = "a planned event, such as 'Order Completed'"
    assert verdict.violations == (
        Violation("unplanned_event", "/event", expected, '"order_completed"'),
    )


def test_a_rejected_event_keeps_also_what_would_be_dropped() -> None:
    checker = validator("{on_violation: drop, unplanned_properties: reject}")
    verdict = checker.check("track", "Order Completed", b'{"total":-1,"x":1}')
    assert (verdict.decision, verdict.payload) == ("quarantine", b'{"total":-1,"x":1}')


@pytest.mark.parametrize(
    ("kind", "payload", "expected"),
    [
        ("identify", {"plan": "gold"}, [("enum", "/traits/plan")]),
        ("identify", {"plan": "pro"}, []),
        ("group", {"seats": 0}, [("range", "/traits/seats")]),
        ("group", {"seats": 1.0}, []),
        ("page", {"anything": 1}, []),
        ("screen", {"anything": 1}, []),
        ("alias", {"anything": 1}, []),
    ],
)
def test_calls_without_an_event_of_their_own(
    kind: Any, payload: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    verdict = validator().check(kind, "", json.dumps(payload).encode())
    assert codes(verdict) == expected
    assert verdict.decision == ("quarantine" if expected else "accept")


def test_page_calls_are_checked_as_the_planned_event() -> None:
    checker = validator(page="Page Viewed: {properties: {path: {type: string, required: true}}}")
    assert codes(checker.check("page", "Home", b"{}")) == [("missing", "/properties/path")]
    assert checker.check("screen", "Home", b"{}").decision == "accept"


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "json"), (b"{", "json"), (b"{'a':1}", "json"), (b'{"total":1}x', "json"),
        (b'{"total":\xff}', "json"), (b'{"total":01}', "json"), (b"[1]", "type"),
        (b"null", "type"), (b'"x"', "type"), (b'{"total":1,"total":2}', "duplicate_key"),
        (b'{"total":NaN}', "number"), (b'{"total":-Infinity}', "number"),
        (b'{"total":1e999}', "number"), (b'{"total":18446744073709551616}', "number"),
        (b'{"total":-9223372036854775809}', "number"),
        (b'{"total":' + b"1" * 10_000 + b"}", "number"),
        (b'{"total":1,"currency":"\\udc00"}', "encoding"),
        (b'{"total":' + b"[" * 70 + b"]" * 70 + b"}", "depth"),
        (b'{"$unfit":"number","total":1}', "unfit"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("policy", ["reject", "accept"])
def test_what_no_plan_can_allow_is_quarantined_under_every_policy(
    raw: bytes, code: str, policy: str
) -> None:
    checker = validator(
        f"{{on_violation: {policy}, unplanned_events: {policy}, unplanned_properties: {policy}}}"
    )
    for name in ("Order Completed", "Unplanned"):
        verdict = checker.check("track", name, raw)
        assert verdict.decision == "quarantine"
        assert code in [one.code for one in verdict.violations]
        # What is kept is JSON, is marked, and does not pass when it is replayed.
        assert UNFIT in json.loads(verdict.payload)
        assert checker.check("track", name, verdict.payload).decision == "quarantine"
    assert checker.check("track", "Order Completed", b'{"total":1}', raw).decision == "quarantine"


@pytest.mark.parametrize(
    "text",
    ["9007199254740993", "18446744073709551615", "-9223372036854775808", "0.12345678901234567",
     "0.1000000000000000055", "1e2", "123456789.123456789123456789", "5e-324", "1E+2"],
)  # fmt: skip
def test_numbers_keep_their_exact_value(text: str) -> None:
    from decimal import Decimal

    plan = "plan: t\nversion: 1.0.0\nevents: {E: {properties: {x: number, y: true}}}"
    for name in ("x", "y"):
        raw = b'{"%s": %s}' % (name.encode(), text.encode())
        verdict = Plan.parse(plan).compile().check("track", "E", raw)
        assert verdict.decision == "accept"
        assert json.loads(verdict.payload, parse_float=Decimal)[name] == Decimal(text)


def test_limits_hold_to_the_last_digit() -> None:
    plan = Plan.parse(
        "plan: t\nversion: 1.0.0\nevents:\n"
        "  E: {properties: {x: {type: number, maximum: 0.1}, y: {multipleOf: 0.01}}}\n"
    ).compile()
    assert plan.check("track", "E", b'{"x":0.1,"y":4.35}').decision == "accept"
    assert plan.check("track", "E", b'{"x":0.10000000000000000001}').decision == "quarantine"
    assert plan.check("track", "E", b'{"y":4.351}').decision == "quarantine"
    assert plan.check("track", "E", b'{"y":4.3500000000000000000001}').decision == "quarantine"


def test_an_escaped_and_spaced_payload_becomes_compact_json() -> None:
    raw = b' { "currency" : "\\u0045UR" , "total" : 1.50 , "lines" : [ ] } '
    verdict = validator().check("track", "Order Completed", raw, b' {"a": "\\u00e9"} ')
    assert verdict.decision == "accept"
    assert json.loads(verdict.payload) == {"currency": "EUR", "total": 1.5, "lines": []}
    assert b" " not in verdict.payload
    assert verdict.context == '{"a":"é"}'.encode()


def test_texts_that_passed_a_pattern_are_remembered_in_bounded_memory() -> None:
    plan = Plan.parse(
        "plan: t\nversion: 1.0.0\n"
        "events: {E: {properties: {id: {type: string, pattern: '^i[0-9]+$', format: uuid}}}}"
    )
    checker = plan.compile()
    for index in range(600):
        assert checker.check("track", "E", b'{"id":"i%d"}' % index).decision == "quarantine"
    plan = Plan.parse(
        "plan: t\nversion: 1.0.0\n"
        "events: {E: {properties: {id: {type: string, pattern: '^i[0-9]+$'}}}}"
    )
    checker = plan.compile()
    for index in [*range(600), *range(600)]:
        assert checker.check("track", "E", b'{"id":"i%d"}' % index).decision == "accept"
        assert checker.check("track", "E", b'{"id":"x%d"}' % index).decision == "quarantine"


def test_a_pattern_is_asked_alone_when_its_texts_are_many() -> None:
    plan = Plan.parse(
        "plan: t\nversion: 1.0.0\n"
        "events: {E: {properties: {n: integer, id: {type: [string, 'null'], pattern: '^j[0-9]+$'},"
        " at: {type: string, format: time}}}}"
    )
    checker = plan.compile()
    accepted = [b'{"id":null,"n":1}', b'{"n":1}', b'{"id":"j1","n":1}', b'{"n":1,"id":"j1"}']
    accepted += [b'{"at":"10:00:00Z","id":"j2"}']
    refused = [b'{"id":"k1","n":1}', b'{"id":"","n":1}', b'{"id":1}', b'{"id":"j1","id":"j1"}']
    refused += [b'{"at":"10:00","id":"j2"}']
    first = checker._events["E"].run
    for many in (0, 600, 1):
        for index in range(many):
            raw = b'{"id":"j%d","n":%d}' % (index, index)
            verdict = checker.check("track", "E", raw)
            assert (verdict.decision, verdict.payload) == ("accept", raw)
        for raw in accepted:
            verdict = checker.check("track", "E", raw)
            assert (verdict.decision, verdict.payload) == ("accept", raw)
        for raw in refused:
            assert checker.check("track", "E", raw).decision == "quarantine"
    assert checker._events["E"].run is not first


def test_of_the_order_that_is_learned_only_names_are_kept() -> None:
    value = {"b": [{"name": "Ann"}, {"age": 3}], "a": {"email": "a@b.c"}, "c": 1}
    assert _shape(value) == {"b": [{"name": None}], "a": {"email": None}, "c": None}
    assert [*_shape(value)] == ["b", "a", "c"]
    assert _shape([]) is None


def test_contexts_are_remembered_in_bounded_memory() -> None:
    checker = validator()
    for index in range(3_000):
        context = b'{"n":%d}' % index
        assert checker.check("track", "Order Completed", b'{"total":1}', context).context == context
    assert len(checker._contexts) <= 1024


def test_violations_are_bounded() -> None:
    raw = json.dumps({"total": 1, "lines": [1] * 5_000}).encode()
    violations = validator().check("track", "Order Completed", raw).violations
    assert len(violations) == 1_001
    assert violations[-1].code == "more"
    raw = json.dumps({"total": 1} | {f"x{index}": 1 for index in range(5_000)}).encode()
    assert len(validator().check("track", "Order Completed", raw).violations) == 1_001


def test_threads_may_share_a_validator() -> None:
    checker = validator()
    orders = [b'{"total":1,"currency":"EUR"}', b'{"currency":"EUR","total":1}', b'{"total":-1}']

    def check(index: int) -> bool:
        raw = orders[index % 3]
        verdict = checker.check("track", "Order Completed", raw)
        return verdict.payload == raw and (verdict.decision == "accept") == (index % 3 < 2)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(check, range(3_000)))
