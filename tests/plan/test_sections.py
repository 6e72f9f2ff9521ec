"""Journeys, segments, metrics, models and experiments: their form and what they refer to."""

from __future__ import annotations

import pytest

from desirepath.errors import PlanError
from desirepath.plan import Plan

HEAD = """plan: t
version: 1.0.0
traits: {country: string, address: {properties: {city: string}}}
events:
  Viewed: {properties: {price: number, name: string}}
  Order Completed: {properties: {total: number, address: {properties: {city: string}}}}
  Order.Refunded: {properties: {total: number}}
  Open: {unplanned_properties: accept}
"""

GOOD = """
journeys:
  simple: {steps: [Viewed, Order Completed], within: 7d, description: d, owner: o}
  full:
    steps:
      - {event: Viewed, where: {price: {">": 1, "<=": 9}, traits.country: SE}, name: see}
      - [Viewed, Open]
      - {any: [Viewed, {event: Open, where: {anything: 1}}], optional: true}
      - {any_order: [Viewed, Open]}
      - {event: [Order Completed, Order.Refunded], where: {total: [1, 2]}}
    within: session
    order: strict
    by: [price, context.page.url, traits.country]
    hold: name
    exclude: [Open, {event: Viewed, after: 1, before: 2, drop: person}, {any: [Open]}]
    where: {any: [{price: 1}, {not: {message.source: web}}]}
    entry: first
    count: sessions
    segment: buyers
segments:
  buyers: {did: Order Completed, at_least: 1, at_most: 3, within: 30d, description: d}
  swedes: {trait: {country: {in: [SE]}, address.city: Lund}}
  others: {not: {any: [{segment: buyers}, {all: [{segment: swedes}, {did_not: Open}]}]}}
  listed: {people: [u1, u2]}
  filtered: {did: Order Completed, where: {address.city: Lund}, exactly: 2, since: 2026-01-01}
metrics:
  conversion: {kind: kpi, journey: simple, goal: {at_least: 0.05}}
  revenue: {kind: kpi, sum: Order Completed.total, every: day, by: address.city}
  refunds: {kind: kpi, sum: Order.Refunded.total, where: {total: {"between": [1, 2]}}}
  orders: {kind: kpi, count: Order Completed, segment: {did: Viewed}}
  buyers: {kind: cpi, people: [Order Completed, Open], every: week, unit: people}
  size: {kind: kpi, size: buyers}
models:
  will_buy:
    kind: propensity
    outcome: Order Completed
    horizon: 14d
    where: {total: {">": 50}}
    lookback: 90d
    population: {active_within: 30d, did: [Viewed], did_not: [Open]}
    events: [Viewed]
experiments:
  checkout: {variants: [a, b], metric: conversion, guardrails: [revenue], exposure: Viewed}
"""


def test_everything_that_is_planned_may_be_referred_to() -> None:
    plan = Plan.parse(HEAD + GOOD)
    assert plan.journeys["simple"].spec["within"] == "7d"
    assert plan.metrics["conversion"].spec == {
        "kind": "kpi",
        "journey": "simple",
        "goal": {"at_least": 0.05},
    }
    assert plan.experiments["checkout"].place.line == HEAD.count("\n") + GOOD.count("\n")


@pytest.mark.parametrize(
    ("text", "words", "hint"),
    [
        ("journeys: {j: {within: 7d}}", "has no `steps`", None),
        ("journeys: {j: {steps: [Viewed]}}", "2 to 20 steps, not 1", None),
        (
            "journeys: {j: {steps: [Viewed, Ordr Completed]}}",
            "'Ordr Completed' is not pl",
            "Order Co",
        ),
        ("journeys: {j: {stepz: []}}", "unknown key 'stepz' of a journey", "'steps'"),
        (
            "journeys: {j: {steps: [Viewed, {evnt: Open}]}}",
            "unknown key 'evnt' of a step",
            "'event'",
        ),
        ("journeys: {j: {steps: [Viewed, {event: Open, any: []}]}}", "names its `event`", None),
        ("journeys: {j: {steps: [Viewed, 7]}}", "expected the name of one event", None),
        (
            "journeys: {j: {steps: [Viewed, {event: Viewed, where: {prize: 1}}]}}",
            "'prize' of",
            "price",
        ),
        (
            "journeys: {j: {steps: [Viewed, {event: Viewed, where: {price: {=>: 1}}}]}}",
            "operat",
            "'>'",
        ),
        (
            "journeys: {j: {steps: [Viewed, {event: Viewed, where: {price: {in: 1}}}]}}",
            "a list",
            None,
        ),
        (
            "journeys: {j: {steps: [Viewed, Open], where: {traits.land: 1}}}",
            "the trait 'land'",
            None,
        ),
        ("journeys: {j: {steps: [Viewed, Viewed], by: total}}", "'total' of 'Viewed'", None),
        ("journeys: {j: {steps: [Viewed, Open], within: week}}", "a span of time", "7d"),
        (
            "journeys: {j: {steps: [Viewed, Open], order: stric}}",
            "one of ordered, strict",
            "strict",
        ),
        ("journeys: {j: {steps: [Viewed, Open], segment: buyers}}", "the segment 'buyers'", None),
        ("journeys: {j: {steps: [Viewed, Open], exclude: [Opn]}}", "the event 'Opn'", "Open"),
        (
            "journeys: {j: {steps: [Viewed, Open], exclude: [{after: 1}]}}",
            "an exclusion names its",
            None,
        ),
        ("journeys: {j: [Viewed]}", "expected a mapping", None),
        ("segments: {s: {description: d}}", "has no condition", "did: Order"),
        ("segments: {s: {did: Open, trait: {country: SE}}}", "exactly one of", None),
        ("segments: {s: {dd: Open}}", "unknown key 'dd' of a condition", "did"),
        ("segments: {s: {did: Opened}}", "the event 'Opened' is not planned", "Open"),
        ("segments: {s: {did: Open, at_leest: 3}}", "unknown key 'at_leest'", "at_least"),
        ("segments: {s: {did: Open, at_least: 1.5}}", "a whole number, not 1.5", None),
        ("segments: {s: {did: Open, exactly: 1, at_least: 1}}", "stands alone", None),
        ("segments: {s: {did: Open, at_least: 3, at_most: 2}}", "nobody", None),
        ("segments: {s: {trait: {contry: SE}}}", "the trait 'contry'", "country"),
        ("segments: {s: {all: []}}", "expected a list of conditions", None),
        ("segments: {s: {all: [did]}}", "expected a condition", None),
        ("segments: {s: {segment: t}}", "the segment 't' is not planned", None),
        ("segments: {s: {not: {segment: s}}}", "defined by itself: s -> s", None),
        (
            "segments: {a: {segment: b}, b: {all: [{segment: a}]}}",
            "defined by itself: a -> b",
            None,
        ),
        ("segments: {s: {people: [7]}}", "a person's id is text", "quote"),
        ("metrics: {m: {sum: Viewed.price}}", "`kind` is missing", None),
        ("metrics: {m: {kind: kip, count: Open}}", "one of kpi, cpi", "kpi"),
        ("metrics: {m: {kind: kpi}}", "has exactly one of", None),
        ("metrics: {m: {kind: kpi, count: Open, people: Open}}", "has exactly one of", None),
        ("metrics: {m: {kind: kpi, sum: Viewed.prize}}", "'prize' of 'Viewed'", "price"),
        ("metrics: {m: {kind: kpi, sum: Vewed.price}}", "names no planned event", "Viewed"),
        ("metrics: {m: {kind: kpi, sum: 7}}", "expected an event and a property", None),
        ("metrics: {m: {kind: kpi, journey: j}}", "the journey 'j' is not planned", None),
        ("metrics: {m: {kind: kpi, count: Open, every: dai}}", "`every` is one of", "day"),
        ("metrics: {m: {kind: kpi, count: Open, goal: 5}}", "expected a mapping: a goal", None),
        ("metrics: {m: {kind: kpi, count: Open, goal: {at_least: x}}}", "a goal is a number", None),
        (
            "metrics: {m: {kind: kpi, count: Open, goal: {at_least: 5, at_most: 4}}}",
            "at least 5 and at most 4: never",
            None,
        ),
        ("journeys: {j: {steps: [Viewed, Open], within: 0d}}", "more than 0", None),
        ("segments: {s: {did: Open, within: 0.0h}}", "more than 0", None),
        (
            "models: {m: {kind: propensity, outcome: Open, horizon: 99999999999999999999d}}",
            "at most 36,500 days",
            None,
        ),
        ("models: {m: {kind: magic}}", "one of propensity", None),
        ("models: {m: {kind: propensity}}", "has no `outcome`", None),
        ("models: {m: {kind: propensity, outcome: Opn}}", "the event 'Opn'", "Open"),
        ("models: {m: {kind: propensity, outcome: Open, horizon: 14}}", "a span of time", None),
        (
            "models: {m: {kind: propensity, outcome: Open, population: {did: [X]}}}",
            "event 'X'",
            None,
        ),
        ("experiments: {e: {metric: m}}", "the metric 'm' is not planned", None),
        ("experiments: {e: {variant: [a]}}", "unknown key 'variant'", "variants"),
    ],
)
def test_each_wrong_reference_is_an_error_with_a_hint(
    text: str, words: str, hint: str | None
) -> None:
    with pytest.raises(PlanError) as caught:
        Plan.parse(HEAD + text, path="p.yaml")
    assert words in caught.value.message
    assert caught.value.line == HEAD.count("\n") + 1
    assert caught.value.column is not None
    if hint is not None:
        assert hint in (caught.value.hint or "")


def test_segments_may_not_be_stacked_without_end() -> None:
    text = "".join(f"  s{index}: {{segment: s{index + 1}}}\n" for index in range(3000))
    with pytest.raises(PlanError) as caught:
        Plan.parse(f"{HEAD}segments:\n{text}  s3000: {{did: Open}}\n")
    assert "made of too many others" in caught.value.message
