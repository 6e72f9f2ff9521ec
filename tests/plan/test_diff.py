"""`desirepath.plan.diff`: who is broken by a change, and the bump it takes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desirepath.plan import Plan
from desirepath.plan.diff import Affected, Change, Diff, diff
from desirepath.plan.emit import to_yaml

BASE = """
plan: shop
version: 1.2.3
defaults: {on_violation: reject, unplanned_events: reject, unplanned_properties: reject}
types:
  money: {type: number, minimum: 0, unit: EUR}
context:
  app: string
traits:
  country: {enum: [SE, NL]}
  email: {type: string, pii: keep}
events:
  Product Viewed: {description: Seen., properties: {sku: {type: string, required: true}}}
  Product Added: {description: Added., properties: {sku: string, level: {enum: [gold, silver]}}}
  Order Completed:
    description: Paid.
    properties:
      order_id: {type: string, required: true}
      total: {$ref: money, required: true}
      coupon: string
journeys:
  purchase:
    {steps: [Product Viewed, {event: Order Completed, where: {total: {">": 0}}}], within: 7d}
  gold: {steps: [{event: Product Added, where: {level: gold}}, Order Completed], within: 7d}
segments:
  swedes: {trait: {country: {in: [SE]}}}
metrics:
  conversion: {kind: kpi, journey: purchase, goal: {at_least: 0.05}}
  revenue: {kind: kpi, sum: Order Completed.total, every: day}
models:
  will_buy: {kind: propensity, outcome: Order Completed, horizon: 14d}
"""


def changed(*edits: tuple[str, str], version: str = "1.2.3", base: str = BASE) -> Diff:
    text = base
    for old, new in edits:
        assert old in text, old
        text = text.replace(old, new)
    new_text = text.replace("version: 1.2.3", f"version: {version}")
    return diff(Plan.parse(base, "old.yaml"), Plan.parse(new_text, "new.yaml"))


def only(found: Diff) -> Change:
    (change,) = found.changes
    return change


def fates(found: Diff) -> dict[str, str]:
    return {one.name: one.fate for one in found.affected}


def named(found: Diff, name: str) -> Affected:
    return next(one for one in found.affected if one.name == name)


def test_nothing_changed_needs_nothing() -> None:
    found = changed()
    assert (found.changes, found.affected, found.needed, found.made) == ((), (), "none", "none")
    assert found.enough


def test_comments_and_layout_are_no_change() -> None:
    assert changed(("plan: shop", "# a comment\nplan: shop")).changes == ()


@pytest.mark.parametrize(
    ("edits", "level", "needed"),
    [
        # What producers send today and the new plan refuses.
        ([("sku: string", "sku: {type: string, required: true}")], "breaking", "major"),
        ([("coupon: string", "coupon: string\n      vat: {type: number, required: true}")],
         "breaking", "major"),
        ([("minimum: 0", "minimum: 1")], "breaking", "major"),
        ([("coupon: string", "coupon: {type: string, maxLength: 9}")], "breaking", "major"),
        ([("enum: [gold, silver]", "enum: [gold]")], "breaking", "major"),
        # What readers lose.
        ([("\n      coupon: string", "")], "breaking", "major"),
        ([("unit: EUR", "unit: SEK")], "breaking", "major"),
        ([("pii: keep", "pii: hash")], "breaking", "major"),
        ([("\n  will_buy: {kind: propensity, outcome: Order Completed, horizon: 14d}", " {}")],
         "breaking", "major"),
        # What depends on the data, or cannot be decided.
        ([("within: 7d}\n  gold", "within: 3d}\n  gold")], "risky", "minor"),
        ([("email: {type: string, pii: keep}", "email: {type: string, pii: keep}\n  phone: string"),
          ("unplanned_properties: reject", "unplanned_properties: accept")], "compatible", "minor"),
        # What both sides can go on with.
        ([("coupon: string", "coupon: string\n      vat: number")], "compatible", "minor"),
        ([("enum: [gold, silver]", "enum: [gold, silver, tin]")], "compatible", "minor"),
        ([("order_id: {type: string, required: true}", "order_id: string")], "compatible", "minor"),
        ([("events:\n", "events:\n  Signed Up: {description: New.}\n")], "compatible", "minor"),
        # What describes.
        ([("description: Paid.", "description: The buyer paid.")], "note", "patch"),
        ([("goal: {at_least: 0.05}", "goal: {at_least: 0.06}")], "note", "patch"),
    ],
)  # fmt: skip
def test_levels_and_the_bump_they_need(
    edits: list[tuple[str, str]], level: str, needed: str
) -> None:
    found = changed(*edits)
    assert found.changes[0].level == level, found.changes
    assert found.needed == needed
    assert not found.enough


def test_a_rule_that_does_not_reject_is_a_risk_not_a_break() -> None:
    base = BASE.replace("on_violation: reject", "on_violation: accept")
    found = changed(("minimum: 0", "minimum: 1"), base=base)
    assert (only(found).level, "kept, with a violation" in only(found).why) == ("risky", True)


def test_a_property_that_could_be_sent_freely_before() -> None:
    base = BASE.replace("unplanned_properties: reject", "unplanned_properties: accept")
    found = changed(("coupon: string", "coupon: string\n      vat: number"), base=base)
    assert (only(found).level, "unplanned" in only(found).why) == ("risky", True)
    found = changed(("\n      coupon: string", ""), base=base)
    assert "nothing checks it any more" in only(found).why


def test_an_event_that_came_unplanned_before() -> None:
    base = BASE.replace("unplanned_events: reject", "unplanned_events: accept")
    found = changed(("events:\n", "events:\n  Signed Up: {description: New.}\n"), base=base)
    assert only(found).level == "risky"


@pytest.mark.parametrize(
    ("before", "after", "level"),
    [
        ("accept", "reject", "breaking"),
        ("drop", "reject", "breaking"),
        ("accept", "drop", "risky"),
        ("reject", "accept", "compatible"),
    ],
)
def test_policies(before: str, after: str, level: str) -> None:
    edit = (f"unplanned_properties: {before}", f"unplanned_properties: {after}")
    base = BASE.replace("unplanned_properties: reject", f"unplanned_properties: {before}")
    # One change, not one for each event that follows the default.
    assert only(changed(edit, base=base)).level == level


def test_a_policy_of_one_event() -> None:
    found = changed(("description: Seen.", "description: Seen., on_violation: accept"))
    assert only(found).subject == "`on_violation` of event 'Product Viewed'"
    assert only(found).level == "risky"


def test_a_changed_type_keeps_both_columns() -> None:
    found = changed(("money: {type: number, minimum: 0, unit: EUR}", "money: {type: string}"),
                    ('where: {total: {">": 0}}', "where: {total: free}"))  # fmt: skip
    change = next(c for c in found.changes if c.text == "type number -> string")
    assert change.level == "breaking"
    assert (
        change.why == "apps that still send the old form are refused; the view keeps both columns"
    )
    assert named(found, "revenue").fate == "breaks"


def test_a_wider_type_is_a_risk_to_readers() -> None:
    found = changed(("order_id: {type: string,", "order_id: {type: [string, integer],"))
    assert (only(found).level, only(found).why) == ("risky", "the view keeps both columns")
    found = changed(("coupon: string", "coupon: {type: [string, 'null']}"))
    assert (only(found).level, only(found).why) == ("compatible", "")


def test_the_sections_of_a_removed_event() -> None:
    text = BASE[: BASE.index("  Order Completed:")] + "models: {}\nsegments: {}\n"
    text += "journeys:\n  purchase: {steps: [Product Viewed, Product Added], within: 7d}\n"
    found = diff(Plan.parse(BASE), Plan.parse(text.replace("1.2.3", "2.0.0")))
    assert fates(found) == {
        "gold": "removed", "revenue": "removed", "will_buy": "removed",
        "purchase": "rewritten", "conversion": "removed",
    }  # fmt: skip
    assert named(found, "will_buy").reasons == ("the event 'Order Completed' is gone",)
    assert found.enough


def test_breaks_are_named_with_their_reason_through_other_sections() -> None:
    found = changed(("unit: EUR", "unit: SEK"))
    assert fates(found) == {"purchase": "breaks", "conversion": "breaks", "revenue": "breaks"}
    assert named(found, "revenue").reasons == ("Order Completed.total: unit EUR -> SEK",)
    assert named(found, "conversion").reasons == ("the journey 'purchase' breaks",)
    assert named(found, "conversion").kind == "metric"


def test_refused_producers_put_what_counts_their_events_at_risk() -> None:
    found = changed(("coupon: string", "coupon: string\n      vat: {type: number, required: true}"))
    assert fates(found) == {
        "purchase": "at risk", "gold": "at risk", "conversion": "at risk",
        "revenue": "at risk", "will_buy": "at risk",
    }  # fmt: skip
    assert "Order Completed.vat is required now" in named(found, "will_buy").reasons[0]


def test_a_condition_that_becomes_impossible_breaks_its_section() -> None:
    found = changed(("enum: [gold, silver]", "enum: [silver]"))
    assert named(found, "gold").fate == "breaks"
    assert any('never "gold"' in reason for reason in named(found, "gold").reasons)
    found = changed(("enum: [SE, NL]", "enum: [NL]"))
    assert named(found, "swedes").fate == "breaks"


def test_events_that_stop_coming_put_sections_at_risk() -> None:
    found = changed(("description: Paid.", "description: Paid.\n    status: deprecated"))
    assert only(found).level == "compatible"
    assert set(fates(found).values()) == {"at risk"}


def test_a_property_that_is_no_longer_required_puts_its_readers_at_risk() -> None:
    found = changed(("total: {$ref: money, required: true}", "total: money"))
    assert fates(found) == {
        "purchase": "at risk", "conversion": "at risk", "revenue": "at risk"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after", "level"),
    [("keep", "drop", "breaking"), ("hash", "keep", "breaking"), ("drop", "hash", "risky"),
     ("hash", "drop", "breaking"), ("drop", "keep", "risky")],
)  # fmt: skip
def test_personal_data(before: str, after: str, level: str) -> None:
    base = BASE.replace("pii: keep", f"pii: {before}")
    found = changed((f"pii: {before}", f"pii: {after}"), base=base)
    assert (only(found).level, only(found).subject) == (level, "trait.email")


def test_marks_inside_a_value() -> None:
    base = BASE.replace("coupon: string", "coupon: {type: object, properties: {who: string}}")
    found = changed(("who: string", "who: {type: string, pii: drop}"), base=base)
    assert only(found).subject == "Order Completed.coupon.who"
    assert only(found).pointer == "/events/Order Completed/properties/coupon/who/pii"


OPEN = "unplanned_properties: accept"


@pytest.mark.parametrize(
    ("before", "after", "level"),
    [
        ("object", "{type: object, properties: {email: {pii: drop}}}", "breaking"),
        ("true", "{properties: {email: {pii: hash}}}", "breaking"),
        ("array", "{type: array, items: {properties: {email: {pii: hash}}}}", "breaking"),
        ("{type: array, items: {type: object}}",
         "{type: array, items: {type: object, properties: {email: {pii: hash}}}}", "breaking"),
        ("{type: object, properties: {a: string}, additionalProperties: false}",
         "{type: object, properties: {a: string, email: {pii: hash}}, additionalProperties: false}",
         "risky"),
        ("string", "{type: [string, object], properties: {email: {pii: hash}}}", "risky"),
        ("object", "{type: object, properties: {email: {pii: keep}}}", None),
    ],
)  # fmt: skip
def test_values_inside_that_will_be_destroyed(before: str, after: str, level: str | None) -> None:
    base = BASE.replace("coupon: string", f"coupon: {before}")
    found = changed((f"coupon: {before}", f"coupon: {after}"), base=base)
    told = [change for change in found.changes if change.pointer.endswith("email/pii")]
    assert [change.level for change in told] == ([level] if level else [])
    assert all(change.subject.endswith("email") for change in told)


def test_a_new_personal_trait() -> None:
    added = ("  country: {enum", "  phone: {type: string, pii: drop}\n  country: {enum")
    levels = [change.level for change in changed(added).changes]
    assert levels == ["risky", "compatible"]
    assert "unplanned_properties: reject" in BASE
    base = BASE.replace("unplanned_properties: reject", OPEN)
    found = changed(added, base=base)
    assert [change.level for change in found.changes] == ["breaking", "risky"]
    assert "removed from now on" in found.changes[0].why


@pytest.mark.parametrize(
    ("event", "level"),
    [
        ("{properties: {path: string}}", "breaking"),
        ("{unplanned_properties: accept, properties: {path: string}}", "risky"),
        ("{unplanned_properties: drop, properties: {path: {required: true}}}", "breaking"),
        ("{unplanned_properties: drop, on_violation: drop, properties: {path: {required: true}}}",
         "risky"),
    ],
)  # fmt: skip
def test_pages_that_are_planned_may_be_refused(event: str, level: str) -> None:
    assert only(changed(("events:\n", f"events:\n  Page Viewed: {event}\n"))).level == level


@pytest.mark.parametrize(
    ("version", "made", "enough"),
    [
        ("1.2.3", "none", False),
        ("1.2.4", "patch", False),
        ("1.3.0", "minor", True),
        ("2.0.0", "major", True),
        ("1.2.2", "backwards", False),
    ],
)
def test_the_bump_that_was_made(version: str, made: str, enough: bool) -> None:
    found = changed(("coupon: string", "coupon: string\n      vat: number"), version=version)
    assert (found.made, found.enough, found.wanted_version) == (made, enough, "1.3.0")


def test_a_version_that_goes_backwards_is_never_right() -> None:
    assert not changed(version="1.2.2").enough


def test_before_the_first_release_a_break_is_a_minor_bump() -> None:
    base = BASE.replace("version: 1.2.3", "version: 0.4.0")
    new = base.replace("version: 0.4.0", "version: 0.5.0").replace("minimum: 0", "minimum: 1")
    found = diff(Plan.parse(base), Plan.parse(new))
    assert (found.changes[0].level, found.needed, found.enough) == ("breaking", "minor", True)


def test_another_plan_is_told() -> None:
    found = changed(("plan: shop", "plan: store"))
    assert only(found).pointer == "/plan"


def test_traits_and_context_are_compared_too() -> None:
    found = changed(("  app: string", "  app: {type: string, required: true}"))
    assert (only(found).subject, only(found).level) == ("context.app", "breaking")
    found = changed(("  country: {enum: [SE, NL]}\n", ""), ("country: {in", "email: {in"))
    assert [c.level for c in found.changes if c.subject == "trait.country"] == ["breaking"]
    assert named(found, "swedes").fate == "rewritten"


def test_pages_come_in_freely_until_they_are_planned() -> None:
    free = "{unplanned_properties: accept, properties: {path: string}}"
    added = ("events:\n", f"events:\n  Page Viewed: {free}\n")
    found = changed(added)
    assert (only(found).level, "checked from now on" in only(found).why) == ("risky", True)
    base = BASE.replace(*added)
    found = changed((added[1], added[0]), base=base)
    assert "nothing checks it any more" in only(found).why


def test_a_rename_is_a_removal_that_is_recognised() -> None:
    found = changed(("coupon: string", "couponCode: string"))
    assert found.changes[0].text == "removed (renamed to 'couponCode'?)"
    found = changed(("Product Added", "Products Added"))
    assert found.changes[0].text == "removed (renamed to 'Products Added'?)"
    assert named(found, "gold").fate == "rewritten"


POLICIES = st.sampled_from(["reject", "drop", "accept"])
SCHEMAS = st.sampled_from([
    {"type": "string"}, {"type": "integer"}, {"type": "number", "minimum": 0}, {},
    {"type": ["string", "null"]}, {"enum": ["a", "b"]}, {"enum": ["a"]}, {"const": 1},
    {"type": "string", "pattern": "^a"}, {"type": "string", "maxLength": 1},
    {"type": "array", "items": {"type": "integer"}},
    {"type": "object", "properties": {"x": {"type": "integer", "required": True}}},
    {"type": "object", "properties": {"x": "string"}, "additionalProperties": False},
])  # fmt: skip


def properties() -> st.SearchStrategy[dict[str, Any]]:
    one = st.builds(
        lambda schema, required: {**schema, **({"required": True} if required else {})},
        SCHEMAS,
        st.booleans(),
    )
    return st.dictionaries(st.sampled_from(["p", "q", "r"]), one, max_size=3)


PLANS = st.fixed_dictionaries({
    "plan": st.just("test"), "version": st.just("1.0.0"),
    "defaults": st.fixed_dictionaries({
        "on_violation": POLICIES, "unplanned_events": POLICIES, "unplanned_properties": POLICIES,
    }),
    "traits": properties(),
    "events": st.dictionaries(
        st.sampled_from(["A", "B", "Page Viewed"]),
        st.fixed_dictionaries({"properties": properties()}, optional={
            "on_violation": POLICIES, "unplanned_properties": POLICIES,
        }),
    ),
})  # fmt: skip
VALUES = st.sampled_from(["a", "b", "ab", 1, 1.5, -1, None, [1], ["a"], {"x": 1}, {"x": "a"}, {}])
PAYLOADS = st.dictionaries(st.sampled_from(["p", "q", "r"]), VALUES, max_size=3)
KINDS = st.sampled_from(["track", "page", "identify"])


@settings(max_examples=200, deadline=None)
@given(PLANS, PLANS, st.lists(st.tuples(KINDS, PAYLOADS), max_size=25), st.data())
def test_no_event_is_refused_without_a_warning(
    old: dict[str, Any], new: dict[str, Any], calls: list[Any], data: st.DataObject
) -> None:
    """Whatever the old plan took and the new one refuses, `diff` has told of."""
    for key in data.draw(st.lists(st.sampled_from(["defaults", "traits", "events"]), max_size=2)):
        new = {**new, key: old[key]}
    before, after = (Plan.parse(to_yaml(text)) for text in (old, new))
    worst = next((change.level for change in diff(before, after).changes), None)
    validators = before.compile(), after.compile()
    for kind, payload in calls:
        event = data.draw(st.sampled_from(["A", "B"])) if kind == "track" else ""
        raw = msgspec.json.encode(payload)
        was, is_ = (one.check(kind, event, raw).decision for one in validators)
        if (was, is_) == ("accept", "quarantine"):
            assert worst in ("breaking", "risky"), (kind, event, payload)
