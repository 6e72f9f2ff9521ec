"""The parts of a plan that name other parts: journeys, segments, metrics, models, experiments.

Here each is checked for its form and for every reference in it: events, properties, traits,
segments, journeys and metrics must be planned. What the questions mean is not known here; the
tables below only say which keys each part has and what they refer to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from desirepath.plan.conditions import Conditions
from desirepath.plan.keywords import closest
from desirepath.plan.model import Event, Plan
from desirepath.plan.reader import Node, fail

__all__ = ["AGGREGATES", "EVERY", "METRIC_KINDS", "MODEL_KINDS", "check", "check_keys"]

METRIC_KINDS: Final = ("kpi", "cpi")
"""Key performance indicator, customer perception indicator."""

MODEL_KINDS: Final = ("propensity",)
EVERY: Final = ("hour", "day", "week", "month", "quarter", "year")
AGGREGATES: Final = ("sum", "average", "median", "min", "max")
"""What a metric may compute of a property, as in `sum: Order Completed.total`."""

_NOTES: Final = ("description", "owner")
_JOURNEY: Final = (
    "steps", "within", "order", "by", "attribution", "where", "hold", "exclude", "entry",
    "count", "segment",
)  # fmt: skip
_STEP: Final = ("event", "any", "where", "name", "optional")
_EXCLUSION: Final = ("event", "any", "where", "after", "before", "drop")
_DID: Final = ("did", "where", "at_least", "at_most", "exactly", "within", "since")
_DID_NOT: Final = ("did_not", "where", "within", "since")
_RULES: Final = ("all", "any", "not", "did", "did_not", "trait", "segment", "people")
_MEASURES: Final = ("journey", "count", "people", "size", *AGGREGATES)
_METRIC: Final = ("kind", *_MEASURES, "where", "by", "segment", "every", "goal", "unit")
_MODEL: Final = (
    "kind", "outcome", "horizon", "where", "population", "lookback", "features", "events",
)  # fmt: skip
_EXPERIMENT: Final = (
    "hypothesis", "status", "variants", "control", "traffic", "exposure", "metric", "metrics",
    "guardrails", "journey", "segment", "since", "until",
)  # fmt: skip
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d|w)")
_SECONDS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_MAX_DAYS: Final = 36_500
_MAX_STEPS: Final = 20
_MAX_SEGMENTS_DEEP: Final = 20


def check(plan: Plan, root: Node) -> None:
    """Refuse the first thing in these parts that cannot be."""
    checker = _Checker(plan)
    for key, one in (
        ("journeys", checker.journey),
        ("segments", checker.segment),
        ("metrics", checker.metric),
        ("models", checker.model),
        ("experiments", checker.experiment),
    ):
        section = root.value.get(key)
        for name, node in ((section and section.value) or {}).items():
            one(name, node)
    checker.no_circles((root.value["segments"].value or {}) if "segments" in root.value else {})


def check_keys(node: Node, known: Sequence[str], what: str) -> None:
    """Refuse a key that means nothing, with the nearest that does."""
    if not isinstance(node.value, dict):
        fail(node.place, f"expected a mapping: {what}")
    for key, place in node.keys.items():
        if key not in known:
            hint = closest(key, known) or f"known are {', '.join(known)}"
            fail(place, f"unknown key {key!r} of {what}", hint)


class _Checker:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._conditions = Conditions(plan)

    def journey(self, name: str, node: Node) -> None:
        check_keys(node, (*_JOURNEY, *_NOTES), "a journey")
        steps = node.value.get("steps")
        if steps is None:
            fail(node.place, f"the journey {name!r} has no `steps`")
        listed = _list(steps, "the events people should do, in order")
        if not 2 <= len(listed) <= _MAX_STEPS:
            fail(steps.place, f"a journey has 2 to {_MAX_STEPS} steps, not {len(listed)}")
        events = [event for step in listed for event in self._step(step)]
        self._span(node, "within", "session", "all")
        self._where(node, events)
        for key in ("by", "hold"):
            self._fields(node, key, events)
        for rule in _several(node, "exclude"):
            if isinstance(rule.value, dict):
                check_keys(rule, _EXCLUSION, "an exclusion")
                self._matched(rule, "an exclusion")
            else:
                self._events(rule)
        self._segment_of(node)
        _choice(node, "order", ("ordered", "strict", "any"))
        _choice(node, "entry", ("every", "first"))
        _choice(node, "count", ("people", "sessions", "attempts", "groups"))

    def _step(self, node: Node) -> list[Event]:
        if not isinstance(node.value, dict):
            return self._events(node)
        if "any_order" in node.value:
            check_keys(node, ("any_order",), "steps in any order")
            steps = _list(node.value["any_order"], "steps")
            return [event for step in steps for event in self._step(step)]
        check_keys(node, _STEP, "a step")
        return self._matched(node, "a step")

    def _matched(self, node: Node, what: str) -> list[Event]:
        """The events that a step or an exclusion names, its filter checked."""
        if ("event" in node.value) == ("any" in node.value):
            fail(node.place, f"{what} names its `event`, or `any` of several")
        if "any" in node.value:
            listed = _list(node.value["any"], "events")
            events = [event for one in listed for event in self._step(one)]
        else:
            events = self._events(node.value["event"])
        self._where(node, events)
        return events

    def _events(self, node: Node) -> list[Event]:
        """The events a name or a list of names stands for; `*` is every one."""
        if isinstance(node.value, list):
            return [event for one in _list(node, "event names") for event in self._step(one)]
        if node.value == "*":
            return list(self._plan.events.values())
        return [_named(node, self._plan.events, "event")]

    def _where(self, node: Node, events: Sequence[Event]) -> None:
        if "where" in node.value:
            self._conditions.where(node.value["where"], events)

    def _fields(self, node: Node, key: str, events: Sequence[Event]) -> None:
        for field in _several(node, key):
            self._conditions.field(field.value, field.place, events)

    def _span(self, node: Node, key: str, *words: str) -> None:
        span = node.value.get(key)
        if span is None or span.value in words:
            return
        found = _DURATION.fullmatch(span.value) if isinstance(span.value, str) else None
        if found is None:
            fail(span.place, f"`{key}` is a span of time, not {span.value!r}",
                 "write a number and a unit: 30s, 15m, 12h, 7d, 2w")  # fmt: skip
        if not 0 < float(found[1]) * _SECONDS[found[2]] <= _MAX_DAYS * _SECONDS["d"]:
            fail(span.place, f"`{key}` is more than 0 and at most {_MAX_DAYS:,} days")

    def _segment_of(self, node: Node) -> None:
        segment = node.value.get("segment")
        if segment is not None:
            if isinstance(segment.value, str):
                _named(segment, self._plan.segments, "segment")
            else:
                self.rule(segment)

    def segment(self, name: str, node: Node) -> None:
        notes = {key: node.value[key] for key in _NOTES if key in node.value}
        if len(notes) == len(node.value):
            fail(node.place, f"the segment {name!r} has no condition",
                 "as in `{did: Order Completed, at_least: 3, within: 30d}`")  # fmt: skip
        self.rule(node, extra=_NOTES)

    def rule(self, node: Node, extra: Sequence[str] = ()) -> None:
        """One condition of a segment."""
        if not isinstance(node.value, dict):
            fail(node.place, "expected a condition, such as `{did: Order Completed}`")
        kinds = [key for key in node.value if key in _RULES]
        if len(kinds) != 1:
            if not kinds:
                check_keys(node, (*_RULES, *extra), "a condition")
            fail(node.place, f"a condition has exactly one of {', '.join(_RULES)}")
        kind = kinds[0]
        child = node.value[kind]
        if kind in ("did", "did_not"):
            check_keys(node, (*(_DID if kind == "did" else _DID_NOT), *extra), "a condition")
            self._did(node, kind)
            return
        check_keys(node, (kind, *extra), f"a condition with `{kind}`")
        if kind in ("all", "any"):
            for one in _list(child, "conditions"):
                self.rule(one)
        elif kind == "not":
            self.rule(child)
        elif kind == "trait":
            self._conditions.traits(child)
        elif kind == "segment":
            _named(child, self._plan.segments, "segment")
        else:
            for person in _list(child, "person ids"):
                if not isinstance(person.value, str):
                    fail(person.place, "a person's id is text", "quote it")

    def _did(self, node: Node, kind: str) -> None:
        events = self._step(node.value[kind])
        self._where(node, events)
        self._span(node, "within")
        for key in ("at_least", "at_most", "exactly"):
            count = node.value.get(key)
            if count is not None and (type(count.value) is not int or count.value < 0):
                fail(count.place, f"`{key}` is a whole number, not {count.value!r}")
        if "exactly" in node.value and ("at_least" in node.value or "at_most" in node.value):
            fail(node.keys["exactly"], "`exactly` stands alone, without at_least and at_most")
        if "at_least" in node.value and "at_most" in node.value:
            least, most = node.value["at_least"].value, node.value["at_most"].value
            if least > most:
                fail(node.keys["at_least"], f"at least {least} and at most {most}: nobody")

    def no_circles(self, segments: Mapping[str, Node]) -> None:
        """Refuse a segment that is defined by itself."""
        uses = {name: [*_segments_in(node)] for name, node in segments.items()}
        done: set[str] = set()

        def visit(name: str, path: list[str]) -> None:
            if name in path or len(path) > _MAX_SEGMENTS_DEEP:
                chain = " -> ".join([*path[:_MAX_SEGMENTS_DEEP], name])
                what = "defined by itself" if name in path else "made of too many others"
                fail(segments[name].place, f"the segment {name!r} is {what}: {chain}")
            if name not in done:
                for other in uses.get(name, ()):
                    visit(other, [*path, name])
                done.add(name)

        for name in uses:
            visit(name, [])

    def metric(self, name: str, node: Node) -> None:
        check_keys(node, (*_METRIC, *_NOTES), "a metric")
        _choice(node, "kind", METRIC_KINDS, required=True)
        measures = [key for key in _MEASURES if key in node.value]
        if len(measures) != 1:
            fail(node.place, f"the metric {name!r} has exactly one of {', '.join(_MEASURES)}")
        measure = measures[0]
        child = node.value[measure]
        events: Sequence[Event] = []
        if measure == "journey":
            _named(child, self._plan.journeys, "journey")
        elif measure == "size":
            _named(child, self._plan.segments, "segment")
        elif measure in ("count", "people"):
            events = self._events(child)
        else:
            events = [self._conditions.event_property(child)]
        self._where(node, events)
        self._fields(node, "by", events)
        self._segment_of(node)
        _choice(node, "every", EVERY)
        _goal(node)

    def model(self, name: str, node: Node) -> None:
        check_keys(node, (*_MODEL, *_NOTES), "a model")
        _choice(node, "kind", MODEL_KINDS, required=True)
        if "outcome" not in node.value:
            fail(node.place, f"the model {name!r} has no `outcome`", "name the event to predict")
        outcome = _named(node.value["outcome"], self._plan.events, "event")
        self._where(node, [outcome])
        self._span(node, "horizon")
        self._span(node, "lookback")
        for event in _several(node, "events"):
            self._events(event)
        population = node.value.get("population")
        if population is not None:
            check_keys(population, ("active_within", "did", "did_not"), "a population")
            self._span(population, "active_within")
            for key in ("did", "did_not"):
                for event in _several(population, key):
                    self._events(event)

    def experiment(self, name: str, node: Node) -> None:
        check_keys(node, (*_EXPERIMENT, *_NOTES), "an experiment")
        references: tuple[tuple[str, Mapping[str, Any], str], ...] = (
            ("exposure", self._plan.events, "event"),
            ("metric", self._plan.metrics, "metric"),
            ("metrics", self._plan.metrics, "metric"),
            ("guardrails", self._plan.metrics, "metric"),
            ("journey", self._plan.journeys, "journey"),
        )
        for key, known, what in references:
            for one in _several(node, key):
                _named(one, known, what)
        self._segment_of(node)


def _named(node: Node, known: Mapping[str, Any], what: str) -> Any:
    if not isinstance(node.value, str):
        fail(node.place, f"expected the name of one {what}")
    if node.value not in known:
        fail(node.place, f"the {what} {node.value!r} is not planned", closest(node.value, known))
    return known[node.value]


def _list(node: Node, what: str) -> list[Node]:
    if not isinstance(node.value, list) or not node.value:
        fail(node.place, f"expected a list of {what}")
    return node.value


def _several(node: Node, key: str) -> list[Node]:
    child = node.value.get(key)
    if child is None:
        return []
    return child.value if isinstance(child.value, list) else [child]


def _choice(node: Node, key: str, allowed: Sequence[str], *, required: bool = False) -> None:
    child = node.value.get(key)
    if child is None:
        if required:
            fail(node.place, f"`{key}` is missing: one of {', '.join(allowed)}")
    elif child.value not in allowed:
        hint = closest(str(child.value), allowed)
        fail(child.place, f"`{key}` is one of {', '.join(allowed)}, not {child.value!r}", hint)


def _goal(node: Node) -> None:
    goal = node.value.get("goal")
    if goal is not None:
        check_keys(goal, ("at_least", "at_most"), "a goal")
        for side in goal.value.values():
            if type(side.value) not in (int, float):
                fail(side.place, "a goal is a number")
        if {"at_least", "at_most"} <= goal.value.keys():
            least, most = goal.value["at_least"].value, goal.value["at_most"].value
            if least > most:
                fail(goal.keys["at_least"], f"at least {least} and at most {most}: never")


def _segments_in(node: Node) -> Any:
    """The names of the segments that a condition is made of."""
    if isinstance(node.value, list):
        for child in node.value:
            yield from _segments_in(child)
    elif isinstance(node.value, dict):
        for key, child in node.value.items():
            if key == "segment" and isinstance(child.value, str):
                yield child.value
            elif key in ("all", "any", "not"):
                yield from _segments_in(child)
