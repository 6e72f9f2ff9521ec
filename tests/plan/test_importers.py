"""`desirepath.plan.importers`: other tools' plans, as they really look."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from desirepath.errors import InputError, PlanError
from desirepath.plan import Plan
from desirepath.plan.importers import Imported, import_plan, text_of


def load(imported: Imported) -> Plan:
    return Plan.parse(text_of(imported, "test"), "imported.yaml")


def write(tmp_path: Path, name: str, content: Any) -> Path:
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


ORDER = {
    "type": "object",
    "properties": {
        "order_id": {"type": "string", "description": "Its number."},
        "total": {"type": ["number", "null"], "minimum": 0},
        "products": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"sku": {"type": "string"}, "n": {"type": "integer"}},
                "required": ["sku"],
            },
        },
    },
    "required": ["order_id", "products"],
}

PUBLIC_API = {
    "data": {
        "rules": [
            {
                "type": "TRACK",
                "key": "Order Completed",
                "version": 1,
                "jsonSchema": {
                    "$schema": "http://json-schema.org/draft-07/schema#",
                    "type": "object",
                    "description": "The buyer paid.",
                    "labels": {},
                    "properties": {"context": {}, "traits": {}, "properties": ORDER},
                },
            },
            {
                "type": "TRACK",
                "key": "Order Completed",
                "version": 2,
                "jsonSchema": {
                    "type": "object",
                    "description": "The buyer paid.",
                    "properties": {
                        "context": {},
                        "traits": {},
                        "properties": {**ORDER, "additionalProperties": False},
                    },
                },
            },
            {
                "type": "IDENTIFY",
                "key": "",
                "jsonSchema": {
                    "type": "object",
                    "properties": {
                        "traits": {
                            "type": "object",
                            "properties": {"email": {"type": "string", "format": "email"}},
                        }
                    },
                },
            },
            {
                "type": "COMMON",
                "key": None,
                "jsonSchema": {
                    "properties": {
                        "context": {
                            "type": "object",
                            "properties": {"build": {"type": "integer", "id": "/x"}},
                        },
                        "properties": {},
                        "traits": {},
                    }
                },
            },
            {"type": "PAGE", "key": "", "jsonSchema": {"properties": {"properties": {}}}},
        ]
    }
}


def test_segment_public_api(tmp_path: Path) -> None:
    plan = load(import_plan([write(tmp_path, "rules.json", PUBLIC_API)]))
    order = plan.events["Order Completed"]
    assert order.description == "The buyer paid."
    assert order.unplanned_properties == "reject"
    assert order.properties["order_id"].required
    assert order.properties["order_id"].description == "Its number."
    assert order.properties["total"].schema == {"type": ["number", "null"], "minimum": 0}
    assert order.properties["products"].required
    assert order.properties["products"].schema["items"]["required"] == ["sku"]
    assert plan.events["Page Viewed"].unplanned_properties == "accept"
    assert plan.traits["email"].schema["format"] == "email"
    assert plan.context["build"].schema == {"type": "integer"}


def test_segment_config_api(tmp_path: Path) -> None:
    document = {
        "name": "workspaces/w/tracking-plans/rs_1",
        "display_name": "Kicks App",
        "rules": {
            "identify_traits": [],
            "group_traits": [],
            "global": {},
            "events": [
                {
                    "name": "Order Completed",
                    "description": "The buyer paid.",
                    "version": 1,
                    "rules": {"properties": {"properties": ORDER, "context": {}, "traits": {}}},
                }
            ],
            "identify": {
                "properties": {
                    "traits": {"type": "object", "properties": {"plan": {"type": "string"}}}
                }
            },
        },
    }
    plan = load(import_plan([write(tmp_path, "plan.json", document)]))
    assert plan.name == "kicks_app"
    assert plan.events["Order Completed"].description == "The buyer paid."
    assert list(plan.traits) == ["plan"]


def test_segment_typewriter_plan_json(tmp_path: Path) -> None:
    document = {
        "id": "tp_1",
        "name": "Typewriter E2E",
        "rules": [
            {
                "type": "TRACK",
                "key": "42_--terrible==event'++name~!3",
                "deprecatedAt": "2023-07-22T21:58:03.000Z",
                "jsonSchema": {
                    "$schema": "http://json-schema.org/draft-07/schema#",
                    "eventMetadata": {"name": "x", "type": "TRACK"},
                    "properties": {
                        "regex property": {
                            "description": "",
                            "id": "/properties/regex%20property",
                            "pattern": "Lawyer Morty|Evil Morty",
                            "type": "string",
                        },
                        "properties": {"type": "object"},
                    },
                    "required": ["regex property"],
                    "type": "object",
                },
                "version": 1,
            }
        ],
    }
    plan = load(import_plan([write(tmp_path, "plan.json", document)]))
    (event,) = plan.events.values()
    assert event.status == "deprecated"
    assert set(event.properties) == {"regex property", "properties"}
    assert event.properties["regex property"].required


def rudder_v0(tmp_path: Path) -> Path:
    write(tmp_path, "events.yaml", """
version: rudder/v0.1
kind: events
metadata: {name: shop}
spec:
  events:
    - {id: order_completed, name: Order Completed, event_type: track, description: Paid.}
    - {id: who, event_type: identify}
""")  # fmt: skip
    write(tmp_path, "properties.yaml", """
version: rudder/v0.1
kind: properties
metadata: {name: shop}
spec:
  properties:
    - {id: total, name: total, type: number, description: Sum., propConfig: {minimum: 0}}
    - {id: coupon, name: coupon, type: "string, null", propConfig: {maxLength: 9}}
    - {id: tags, name: tags, type: array, propConfig: {itemTypes: [string, integer]}}
    - {id: mail, name: mail, type: "#/custom-types/shop/email"}
    - {id: cart, name: cart, type: object}
    - id: buyers
      name: buyers
      type: array
      propConfig: {itemTypes: ["#/custom-types/shop/email"]}
""")  # fmt: skip
    write(tmp_path, "types.yaml", """
version: rudder/v0.1
kind: custom-types
metadata: {name: shop}
spec:
  types:
    - {id: email, name: EmailType, type: string, config: {format: email}}
""")  # fmt: skip
    write(tmp_path, "tp.yaml", """
version: rudder/v0.1
kind: tp
metadata: {name: shop}
spec:
  id: shop-plan
  display_name: Shop
  rules:
    - type: event_rule
      id: one
      event: {$ref: "#/events/shop/order_completed", allow_unplanned: true}
      properties:
        - {$ref: "#/properties/shop/total", required: true}
        - {$ref: "#/properties/shop/coupon"}
        - {$ref: "#/properties/shop/tags"}
        - {$ref: "#/properties/shop/buyers"}
        - $ref: "#/properties/shop/cart"
          properties: [{$ref: "#/properties/shop/total", required: true}]
        - {$ref: "#/properties/shop/nowhere"}
      variants:
        - type: discriminator
          discriminator: "#/properties/shop/coupon"
          cases: [{match: [a], properties: [{$ref: "#/properties/shop/mail", required: true}]}]
    - type: event_rule
      id: two
      event: {$ref: "#/events/shop/who"}
      properties: [{$ref: "#/properties/shop/mail", required: true}]
""")  # fmt: skip
    return tmp_path


def test_rudderstack_project(tmp_path: Path) -> None:
    imported = import_plan([rudder_v0(tmp_path)])
    plan = load(imported)
    order = plan.events["Order Completed"]
    assert plan.name == "shop_plan"
    assert order.description == "Paid."
    assert order.unplanned_properties == "accept"
    assert order.properties["total"].required
    assert order.properties["total"].schema == {"type": "number", "minimum": 0}
    assert order.properties["coupon"].schema == {"type": ["string", "null"], "maxLength": 9}
    assert order.properties["tags"].schema["items"] == {"type": ["string", "integer"]}
    assert order.properties["cart"].schema["required"] == ["total"]
    assert order.properties["mail"].schema == {"type": "string", "format": "email"}
    assert order.properties["buyers"].schema["items"]["format"] == "email"
    assert plan.traits["mail"].required
    assert list(plan.types) == ["emailtype"]
    assert any("nowhere" in note for note in imported.notes)
    assert any("which case" in note for note in imported.notes)


def test_rudderstack_v1(tmp_path: Path) -> None:
    write(tmp_path, "all.yml", """
version: rudder/v1
kind: events
metadata: {name: shop}
spec:
  events: [{id: seen, name: Product Viewed, event_type: track}]
""")  # fmt: skip
    write(tmp_path, "properties.yml", """
version: rudder/v1
kind: properties
metadata: {name: shop}
spec:
  properties:
    - {id: sku, name: sku, types: [string, integer], config: {min_length: 2}}
    - {id: mails, name: mails, type: array, item_type: "#custom-type:mail"}
""")  # fmt: skip
    write(tmp_path, "types.yml", """
version: rudder/v1
kind: custom-types
metadata: {name: shop}
spec:
  types: [{id: mail, name: Mail, type: string, config: {max_length: 99}}]
""")  # fmt: skip
    write(tmp_path, "plan.yml", """
version: rudder/v1
kind: tracking-plan
metadata: {name: shop}
spec:
  id: mytrackingplan
  rules:
    - type: event_rule
      id: r
      event: "#event:seen"
      additional_properties: false
      properties:
        - {property: "#property:sku", required: true}
        - {property: "#property:mails"}
""")  # fmt: skip
    imported = import_plan([tmp_path])
    event = load(imported).events["Product Viewed"]
    assert imported.notes == ()
    assert event.unplanned_properties == "reject"
    assert event.properties["sku"].schema == {"type": ["string", "integer"], "minLength": 2}
    assert event.properties["mails"].schema["items"] == {"type": "string", "maxLength": 99}


def test_rudderstack_api_json(tmp_path: Path) -> None:
    document = {
        "name": "api",
        "events": [
            {
                "name": "Order Completed",
                "eventType": "track",
                "identitySection": "properties",
                "rules": {"$schema": "", "properties": {"properties": ORDER}},
            },
            {
                "name": "",
                "eventType": "identify",
                "identitySection": "context.traits",
                "rules": {
                    "properties": {
                        "context": {
                            "properties": {"traits": {"properties": {"t": {"type": "string"}}}}
                        }
                    }
                },
            },
        ],
    }
    plan = load(import_plan([write(tmp_path, "plan.json", document)]))
    assert plan.events["Order Completed"].properties["order_id"].required
    assert list(plan.traits) == ["t"]


def test_a_project_without_its_plan_is_refused(tmp_path: Path) -> None:
    rudder_v0(tmp_path)
    with pytest.raises(InputError, match="no RudderStack tracking plan"):
        import_plan([tmp_path / "events.yaml", tmp_path / "properties.yaml"])


def test_json_schema_files(tmp_path: Path) -> None:
    one = write(
        tmp_path,
        "order_completed.schema.json",
        {
            "$schema": "http://json-schema.org/draft-04/schema#",
            "type": "object",
            "description": "Paid.",
            "properties": {
                "total": {"type": "number", "minimum": 0, "exclusiveMinimum": True},
                "pair": {"type": "array", "items": [{"type": "string"}, {"type": "number"}],
                         "additionalItems": False},
                "money": {"$ref": "#/definitions/Money Type"},
                "tree": {"$ref": "#/definitions/node"},
                "away": {"$ref": "other.json#/x"},
                "phone": {"type": "string", "format": "phone"},
                "map": {"type": "object", "patternProperties": {"^x": {}}, "propertyNames": {}},
                "any": True,
                "dep": {"type": "object", "dependencies": {"a": ["b"], "c": {}}},
            },
            "required": ["total", "undeclared"],
            "additionalProperties": False,
            "definitions": {
                "Money Type": {"type": "object", "properties": {"eur": {"type": "number"}}},
                "node": {"type": "object", "properties": {"next": {"$ref": "#/definitions/node"}}},
            },
        },
    )  # fmt: skip
    two = write(
        tmp_path,
        "call.json",
        {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "properties": {
                "event": {"const": "Signed Up"},
                "properties": {"properties": {"n": {"type": "integer"}}},
            },
        },
    )
    imported = import_plan([one, two], name="Mixed")
    plan = load(imported)
    assert plan.name == "mixed"
    order = plan.events["Order Completed"]
    assert order.unplanned_properties == "reject"
    assert order.properties["total"].schema == {
        "type": "number", "minimum": 0, "exclusiveMinimum": 0
    }  # fmt: skip
    assert order.properties["undeclared"].required
    pair = order.properties["pair"].schema
    assert [item["type"] for item in pair["prefixItems"]] == ["string", "number"]
    assert pair["items"] == {"not": {}}
    assert order.properties["money"].schema["properties"] == {"eur": {"type": "number"}}
    assert order.properties["dep"].schema["dependentRequired"] == {"a": ["b"]}
    assert order.properties["any"].schema == {}
    assert plan.events["Signed Up"].properties["n"].schema == {"type": "integer"}
    notes = "\n".join(imported.notes)
    for word in ("phone", "patternProperties", "propertyNames", "other.json", "itself", "schemas"):
        assert word in notes


def test_what_is_no_plan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither"):
        import_plan([write(tmp_path, "a.json", {"x": 1})])
    with pytest.raises(InputError, match="not JSON"):
        import_plan([write(tmp_path, "b.json", "{")])
    with pytest.raises(PlanError, match=r"b\.yaml:2:1"):
        import_plan([write(tmp_path, "b.yaml", "a: [")])
    with pytest.raises(InputError, match="No such file"):
        import_plan([tmp_path / "none.json"])
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match=r"no \.json or .yaml"):
        import_plan([empty])
    with pytest.raises(InputError, match="no event"):
        import_plan([write(tmp_path, "c.json", {"rules": []})], format="segment")


def schema_of(tmp_path: Path, prop: Any, **more: Any) -> tuple[dict[str, Any], Imported]:
    document = {"type": "object", "title": "E", "properties": {"p": prop}, **more}
    imported = import_plan([write(tmp_path, "e.json", document)])
    return dict(load(imported).events["E"].properties["p"].schema), imported


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({"type": "any"}, {}),
        (False, {"not": {}}),
        ({"type": "string", "title": "T", "$comment": "c", "default": "x"}, {"type": "string"}),
        ({"type": "number", "exclusiveMaximum": True, "maximum": 5},
         {"type": "number", "maximum": 5, "exclusiveMaximum": 5}),
        ({"type": "number", "exclusiveMaximum": False, "maximum": 5},
         {"type": "number", "maximum": 5}),
        ({"oneOf": [{"type": "string"}, {"type": "null"}]},
         {"oneOf": [{"type": "string"}, {"type": "null"}]}),
        ({"type": "array", "uniqueItems": False}, {"type": "array"}),
        ({"type": "string", "enum": ["a"]}, {"type": "string", "enum": ["a"]}),
        ({"not": {"type": "null"}}, {"not": {"type": "null"}}),
        ({"type": "object", "additionalProperties": {"type": "string"}},
         {"type": "object", "additionalProperties": {"type": "string"}}),
        ({"type": "object", "required": ["a"]}, {"type": "object", "required": ["a"]}),
    ],
)  # fmt: skip
def test_keywords_of_other_drafts(
    tmp_path: Path, theirs: dict[str, Any], ours: dict[str, Any]
) -> None:
    schema, imported = schema_of(tmp_path, theirs)
    assert schema == ours
    assert imported.notes == ()


@pytest.mark.parametrize(
    ("theirs", "note"),
    [
        ({"type": "string", "pattern": "(?=a)"}, "the pattern"),
        ({"type": "string", "pattern": "("}, "the pattern"),
        ({"type": "string", "format": "hostname"}, "the format"),
        ({"type": "array", "contains": {}}, "`contains`"),
        ({"$ref": "#/definitions/none"}, "not in the file"),
    ],
)
def test_what_is_left_out_is_told(tmp_path: Path, theirs: Any, note: str) -> None:
    _, imported = schema_of(tmp_path, theirs)
    assert any(note in line for line in imported.notes), imported.notes
    assert f"# Not carried over: {imported.notes[0]}" in text_of(imported, "x")


def test_references_with_company(tmp_path: Path) -> None:
    schema, imported = schema_of(
        tmp_path,
        {"$ref": "#/$defs/A~1B", "minimum": 3, "description": "D"},
        **{"$defs": {"A/B": {"type": "integer"}}},
    )
    assert schema == {"type": "integer"}
    assert imported.plan["types"] == {"a_b": {"type": "integer"}}
    assert imported.notes == ("E.p: minimum beside a reference",)


def test_types_of_the_same_name_are_kept_apart(tmp_path: Path) -> None:
    for name, kind in (("a", "string"), ("b", "integer")):
        document = {
            "type": "object", "title": name, "properties": {"p": {"$ref": "#/definitions/id"}},
            "definitions": {"id": {"type": kind}},
        }  # fmt: skip
        write(tmp_path, f"{name}.json", document)
    imported = import_plan([tmp_path])
    assert imported.plan["types"] == {"id": {"type": "string"}, "id_2": {"type": "integer"}}
    assert load(imported).events["b"].properties["p"].schema == {"type": "integer"}


def test_json_schema_odds(tmp_path: Path) -> None:
    write(tmp_path, "a.json", {"type": "object", "title": "E", "properties": {}, "allOf": [{}]})
    write(tmp_path, "b.json", {"type": "object", "title": "E", "properties": {}})
    write(tmp_path, "c.json", {"other": 1})
    write(tmp_path, "order_paid.v2.json", {
        "type": "object", "properties": {}, "deprecated": True, "additionalProperties": {},
    })  # fmt: skip
    imported = import_plan([tmp_path])
    plan = load(imported)
    assert plan.events["Order Paid"].status == "deprecated"
    notes = "\n".join(imported.notes)
    for part in ("`allOf` over several", "the event 'E' again", "left out"):
        assert part in notes


def test_segment_odds(tmp_path: Path) -> None:
    rules = [
        {"type": "TRACK", "key": "", "jsonSchema": {}},
        {"type": "TRACK", "key": "A", "jsonSchema": None},
        {"type": "SCREEN", "key": "Home", "jsonSchema": {}},
        {"type": "GROUP", "key": "", "jsonSchema": {
            "properties": {"traits": {"properties": {"size": {"type": "integer"}}}}}},
        {"type": "TRACK", "key": "B", "jsonSchema": {"properties": {
            "properties": {}, "context": {"properties": {"x": {"type": "string"}}}}}},
        {"type": "ALIAS", "key": "", "jsonSchema": {}},
    ]  # fmt: skip
    write(tmp_path, "plan.json", {"data": {"trackingPlan": {"name": "T P", "rules": rules}}})
    write(tmp_path, "zz.json", {"x": 1})
    imported = import_plan([tmp_path])
    plan = load(imported)
    assert (plan.name, list(plan.events), list(plan.groups)) == (
        "t_p", ["A", "Screen Viewed", "B"], ["size"]
    )  # fmt: skip
    notes = "\n".join(imported.notes)
    for part in (
        "no name a plan can hold",
        "for this event alone",
        "of the type ALIAS",
        "left out",
    ):
        assert part in notes


def test_segment_global_properties_versions_and_labels(tmp_path: Path) -> None:
    def event(name: str, version: int, prop: str, **more: Any) -> dict[str, Any]:
        part = {"properties": {prop: {"type": "string"}}, **more.pop("part", {})}
        rules = {"properties": {"properties": part}}
        return {"name": name, "version": version, "rules": rules, **more}

    every = {"properties": {"tenant": {"type": "string"}, "x": {"type": "integer"}}}
    rules = {
        "global": {"properties": {"properties": {**every, "required": ["tenant"]}}},
        "events": [
            event("A", 2, "b"),
            event("A", 1, "a"),
            event("B", 1, "x", labels={"team": "growth"}),
            event("C", 1, "c", part={"additionalProperties": False}),
        ],
    }
    imported = import_plan([write(tmp_path, "plan.json", {"name": "t", "rules": rules})])
    plan = load(imported)
    assert [*plan.events["A"].properties] == ["b", "tenant", "x"]
    assert plan.events["A"].properties["tenant"].required
    assert plan.events["B"].properties["x"].schema == {"type": "string"}
    assert [*plan.events["C"].properties] == ["c"]
    notes = "\n".join(imported.notes)
    for part in (
        "A: its older rule, version 1",
        'B: its labels {"team": "growth"}',
        "B: what is asked of 'x' of every event",
        "C: 'tenant' of every event, which its rule does not allow",
    ):
        assert part in notes


def test_rudderstack_odds(tmp_path: Path) -> None:
    rudder_v0(tmp_path)
    write(tmp_path, "more.yaml", """
version: rudder/v0.1
kind: events
metadata: {name: shop}
spec:
  events:
    - {id: seen, event_type: page}
    - {id: trait_event, name: T, event_type: track}
""")  # fmt: skip
    write(tmp_path, "categories.yaml", "version: rudder/v0.1\nkind: categories\nspec: {}\n")
    write(tmp_path, "loop.yaml", """
version: rudder/v0.1
kind: custom-types
metadata: {name: shop}
spec:
  types: [{id: node, name: Node, type: object, properties: [{$ref: "#/properties/shop/next"}]}]
""")  # fmt: skip
    write(tmp_path, "loop_properties.yaml", """
version: rudder/v0.1
kind: properties
metadata: {name: shop}
spec:
  properties:
    - {id: next, name: next, type: "#/custom-types/shop/node"}
    - {id: lost, name: lost, type: "#/custom-types/shop/lost"}
""")  # fmt: skip
    write(tmp_path, "zz.json", {"x": 1})
    write(tmp_path, "more_plan.yaml", """
version: rudder/v0.1
kind: tp
metadata: {name: shop}
spec:
  id: other
  rules:
    - {type: event_rule, id: p, event: {$ref: "#/events/shop/seen"}}
    - type: event_rule
      id: q
      identity_section: context.traits
      event: {$ref: "#/events/shop/trait_event"}
      properties: [{$ref: "#/properties/shop/next"}, {$ref: "#/properties/shop/lost"}]
    - {type: event_rule, id: r, event: {$ref: "#/events/shop/none"}}
""")  # fmt: skip
    imported = import_plan([tmp_path])
    assert "Page Viewed" in load(imported).events
    notes = "\n".join(imported.notes)
    for part in ("contains itself", "none of the files", "for this event alone", "left out"):
        assert part in notes
