"""`desirepath.plan.lint`: each rule, where it points, and what it leaves alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from desirepath.plan import Plan
from desirepath.plan.lint import RULES, Finding, lint
from desirepath.resources import starter_plan

HEAD = "plan: test\nversion: 1.0.0\nowner: us\n"


def findings(text: str) -> tuple[Finding, ...]:
    return lint(Plan.parse(HEAD + text, "plan.yaml"))


def only(text: str) -> Finding:
    (finding,) = findings(text)
    assert finding.rule in RULES
    return finding


EVENTS = """traits: {kind: {const: person}}
events:
  Product Viewed: {description: Seen., properties: {sku: string, price: {type: number, minimum: 0}}}
  Product Added: {description: Added., properties: {level: {enum: [gold, silver]}, email: {type: string, pii: hash}, name: {type: string, pii: drop}}}
  Order Completed: {description: Paid., status: STATUS, properties: {total: {type: number, minimum: 0, maximum: 100}}}
"""  # noqa: E501
LIVE = EVENTS.replace("STATUS", "live")


def test_a_good_plan_has_none() -> None:
    assert findings(LIVE + "journeys: {buy: {steps: [Product Viewed, Product Added]}}") == ()


@pytest.mark.parametrize("name", ["shop", "saas", "media", "bank"])
def test_starter_plans_have_none(name: str) -> None:
    assert lint(Plan.load(starter_plan(name))) == ()


def test_event_naming_follows_the_majority() -> None:
    finding = only(LIVE + "  checkout_started: {description: x}\n")
    assert finding.rule == "event-naming"
    assert "Title Case" in finding.message
    assert (finding.place.line, finding.place.column) == (9, 3)


def test_property_naming_follows_the_majority() -> None:
    text = "events: {Bought: {description: x, properties: {order_id: string, unit_price: number, "
    assert findings(text + "total: number, item_count: integer}}}") == ()
    finding = only(text + "itemCount: integer}}}")
    assert (finding.rule, "snake_case" in finding.message) == ("property-naming", True)


def test_descriptions_and_owners() -> None:
    plan = Plan.parse("plan: t\nversion: 1.0.0\nevents:\n  Bought: {}\n", "plan.yaml")
    assert [finding.rule for finding in lint(plan)] == ["description", "owner"]
    assert str(lint(plan)[0].place) == "plan.yaml:4:3"


def test_unused_types_point_at_the_type() -> None:
    finding = only(
        "types:\n  used: string\n  idle: string\n"
        "events: {A: {description: x, properties: {p: used}}}"
    )
    assert (finding.rule, finding.place.line) == ("unused-type", 6)


def test_unused_types_of_a_plan_in_several_files(tmp_path: Path) -> None:
    (tmp_path / "types.yaml").write_text("types: {idle: string}\n")
    main = tmp_path / "plan.yaml"
    main.write_text(HEAD + "include: types.yaml\nevents: {A: {description: x}}\n")
    (finding,) = lint(Plan.load(main))
    assert (finding.rule, finding.place.path) == ("unused-type", str(main))


@pytest.mark.parametrize(
    ("status", "rule"), [("planned", "unsent-event"), ("deprecated", "deprecated-event")]
)
def test_sections_on_events_that_do_not_come(status: str, rule: str) -> None:
    text = EVENTS.replace("STATUS", status)
    finding = only(text + "journeys:\n  buy:\n    steps: [Product Viewed, Order Completed]\n")
    assert finding.rule == rule
    assert "journey 'buy'" in finding.message
    assert finding.place.line == 11
    for section in (
        "segments: {s: {did: Order Completed}}",
        "metrics: {m: {kind: kpi, sum: Order Completed.total}}",
        "models: {m: {kind: propensity, outcome: Order Completed, horizon: 14d}}",
    ):
        assert only(text + section).rule == rule


@pytest.mark.parametrize(
    "where",
    [
        "{total: {'>': 100}}",
        "{total: {'<': 0}}",
        "{total: {'>': 3, '<': 2}}",
        "{total: 101}",
        "{total: {between: [101, 102]}}",
    ],
)
def test_conditions_no_event_meets(where: str) -> None:
    finding = only(
        f"{LIVE}journeys:\n"
        f"  buy: {{steps: [Product Viewed, {{event: Order Completed, where: {where}}}]}}\n"
    )
    assert finding.rule == "impossible"
    assert "total" in finding.message or "no number" in finding.message
    assert finding.place.line == 10


@pytest.mark.parametrize(
    ("measured", "reason"),
    [
        ("Product Viewed.sku", "'sku' is no number: it is string"),
        ("Product Added.level", "'level' is no number"),
        ("Product Added.email", "pii: hash"),
        ("Product Added.name", "pii: drop"),
        ("Product Viewed.price", None),
    ],
)
def test_a_metric_of_what_is_no_number(measured: str, reason: str | None) -> None:
    for word in ("sum", "average", "median", "min", "max"):
        text = f"{LIVE}metrics: {{m: {{kind: kpi, {word}: {measured}}}}}\n"
        if reason is None:
            assert findings(text) == ()
            continue
        finding = only(text)
        assert finding.rule == "no-number"
        assert finding.message.startswith("the metric 'm' may be empty: ")
        assert reason in finding.message


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ("{level: bronze}", '"gold"'),
        ("{level: {in: [bronze, iron]}}", "never any of"),
        ("{level: [bronze, iron]}", "never any of"),
        ("{level: {starts_with: b}}", "never starts with"),
        ("{all: [{level: bronze}]}", '"gold"'),
        ("{any: [{level: bronze}]}", '"gold"'),
        ("{traits.kind: tin}", '"person"'),
        ("{email: ada@example.com}", "hash"),
        ("{name: Ada}", "dropped"),
    ],
)
def test_conditions_on_words(where: str, reason: str) -> None:
    finding = only(LIVE + f"segments: {{s: {{did: Product Added, where: {where}}}}}\n")
    assert (finding.rule, reason in finding.message) == ("impossible", True)


@pytest.mark.parametrize(
    "where",
    [
        "{total: {'>': 0}}",
        "{total: {'>=': 100}}",
        "{total: 3}",
        "{total: '3'}",
        "{total: {'>': 2, '<': 3}}",
        "{total: {between: [2, 3]}}",
        "{total: {'!=': 101}}",
        "{not: {total: 101}}",
        "{any: [{total: 101}, {total: 3}]}",
        "{context.page.url: 'x'}",
    ],
)
def test_conditions_that_can_be_met(where: str) -> None:
    assert findings(LIVE + f"segments: {{s: {{did: Order Completed, where: {where}}}}}\n") == ()


def test_kept_violations_make_everything_possible() -> None:
    text = LIVE.replace("status: live", "on_violation: accept")
    assert findings(text + "segments: {s: {did: Order Completed, where: {total: 101}}}\n") == ()


@pytest.mark.parametrize(
    "section",
    [
        "segments: {s: {not: {did: Order Completed}}}",
        "segments: {s: {did_not: Order Completed}}",
        "segments: {s: {any: [{did: Order Completed}, {did: Product Added}]}}",
        "segments: {s: {did: Order Completed, at_most: 1}}",
        "journeys: {j: {steps: [Product Viewed, {any: [Product Added, Order Completed]}]}}",
        "journeys: {j: {steps: [Product Viewed, {event: Order Completed, optional: true}]}}",
        "journeys: {j: {steps: [Product Viewed, Product Added], exclude: Order Completed}}",
    ],
)
def test_what_may_be_missing_is_no_finding(section: str) -> None:
    assert findings(EVENTS.replace("STATUS", "planned") + section) == ()


@pytest.mark.parametrize(
    "section",
    [
        "segments: {s: {all: [{did: Product Added}, {did: Order Completed}]}}",
        "journeys: {j: {steps: [Product Viewed, {any_order: [Product Added, Order Completed]}]}}",
        "metrics: {m: {kind: kpi, people: Order Completed}}",
        "experiments: {e: {exposure: Order Completed}}",
        "models: {m: {kind: propensity, outcome: Product Viewed,"
        " population: {did: Order Completed}}}",
    ],
)
def test_what_may_not_be_missing_is_one(section: str) -> None:
    assert only(EVENTS.replace("STATUS", "planned") + section).rule == "unsent-event"


def possible(schema: str, condition: str) -> bool:
    text = (
        f"events: {{A: {{description: x, properties: {{p: {schema}}}}}}}\n"
        f"segments: {{s: {{did: A, where: {{p: {condition}}}}}}}\n"
    )
    found = findings(text)
    assert {finding.rule for finding in found} <= {"impossible"}
    return not found


@pytest.mark.parametrize(
    ("schema", "condition", "expected"),
    [
        ("{type: integer, minimum: 1}", "{'<': 1}", False),
        ("{type: integer, minimum: 1}", "{'<=': 1}", True),
        ("{type: number, exclusiveMinimum: 1}", "{'<=': 1}", False),
        ("{type: number, exclusiveMaximum: 9}", "{'>=': 9}", False),
        ("{type: number, exclusiveMaximum: 9}", "{'>=': 8}", True),
        ("{type: number}", "{'>': 1, '<=': 1}", False),
        ("{type: boolean}", "{'>': 1}", False),
        ("{type: string}", "{'>': 1}", True),
        ("{type: [string, integer], maximum: 3}", "{'>': 4}", True),
        ("{enum: [1, 2, 3]}", "{'>': 3}", False),
        ("{enum: [1, 2, 3]}", "{'>': 2}", True),
        ("{enum: [1, true]}", "{between: [0.5, 0.9]}", False),
        ("{const: 5}", "5", True),
        ("{const: 5}", "6", False),
        ("{type: boolean}", "true", True),
        ("{type: boolean}", "'true'", True),
        ("{type: boolean}", "'yes'", False),
        ("{type: string, format: date}", "'2026-01-01'", True),
        ("{type: string, format: date}", "soon", False),
        ("{type: string, pattern: '^[A-Z]'}", "abc", False),
        ("{type: string}", "7", True),
        ("{type: integer}", "null", True),
        ("{type: integer}", "[a, null]", True),
        ("{type: array, items: {type: string}}", "shoes", True),
        ("{enum: [red, blue]}", "{contains: lu}", True),
        ("{enum: [red, blue]}", "{ends_with: x}", False),
        ("{type: string}", "{exists: true}", True),
        ("{type: string, required: true}", "{exists: false}", False),
        ("{type: string, pii: drop}", "{exists: true}", False),
        ("{type: string, pii: hash}", "{exists: true}", True),
        ("{type: string, pii: hash}", "{'!=': x}", True),
        ("{type: object, properties: {city: {enum: [Lund]}}}", "{not_in: [x]}", True),
        ("true", "{matches: '^a'}", True),
    ],
)
def test_what_can_be_met(schema: str, condition: str, expected: bool) -> None:
    assert possible(schema, condition) is expected


def test_conditions_reach_into_values_and_refined_types() -> None:
    types = "types: {level: {type: integer, minimum: 1}}\n"
    event = (
        "events: {A: {description: x, properties: {"
        "a: {type: object, properties: {city: {enum: [Lund]}}}, b: {$ref: level, minimum: 5}}}}\n"
    )
    finding = only(types + event + "segments: {s: {did: A, where: {a.city: Oslo}}}\n")
    assert "'a.city' is never" in finding.message
    finding = only(types + event + "segments: {s: {did: A, where: {b: {'<': 5}}}}\n")
    assert "at least 5" in finding.message
    assert findings(types + event + "segments: {s: {did: A, where: {a.zip: x}}}\n") == ()


def test_personal_properties_want_a_mark() -> None:
    head = "events: {A: {description: x, properties: {"
    finding = only(head + "contact: {type: object}, email_verified: boolean, phone: string}}}")
    assert (finding.rule, "`pii: hash`" in finding.message) == ("personal", True)
    assert findings(head + "email: {type: string, pii: keep}, phone: boolean}}}") == ()
    finding = only("traits: {password: string}")
    assert "'password' of traits looks like a secret: mark it `pii: drop`" in finding.message


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ("{type: number, minimum: 5, maximum: 3}", "minimum 5 against maximum 3"),
        ("{type: number, minimum: 3, exclusiveMaximum: 3}", "against exclusiveMaximum"),
        ("{type: string, minLength: 2, maxLength: 1}", "minLength"),
        ("{type: array, minItems: 2, maxItems: 1}", "minItems"),
        ("{type: string, enum: [a, 1]}", "1 breaks `type`, expected string"),
        ("{type: string, const: x, format: date}", "breaks `format`"),
        ("{$ref: small, minimum: 10}", "minimum 10 against maximum 9"),
        ("{type: object, properties: {x: {type: array, items: {enum: [3], minimum: 4}}}}",
         "'p.x[]' of A"),
    ],
)  # fmt: skip
def test_properties_that_nothing_can_fill(schema: str, reason: str) -> None:
    text = "types: {small: {type: integer, maximum: 9}, other: {$ref: small}}\n"
    text += f"events: {{A: {{description: x, properties: {{p: {schema}, q: other}}}}}}\n"
    finding = only(text)
    assert (finding.rule, reason in finding.message) == ("unfillable", True), finding.message


def test_properties_that_can_be_filled() -> None:
    schema = "{type: number, minimum: 3, maximum: 3, enum: [3, 3.0]}"
    assert findings(f"events: {{A: {{description: x, properties: {{p: {schema}}}}}}}") == ()
