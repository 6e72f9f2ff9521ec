"""The rules that segments are made of: what people did, who they are, and, or, not.

    did("Order Completed").at_least(3).within("30d") & trait("country").is_in(["SE", "NL"])

is the same value as the plan's

    all: [{did: Order Completed, at_least: 3, within: 30d}, {trait: {country: {in: [SE, NL]}}}]

Every rule is immutable; its methods answer with a new one. A rule's window ends at the moment the
segment is asked for (`until`, else now).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from desirepath.errors import QueryError
from desirepath_analytics.conditions import Combined, Condition, Field, parse_where, where_spec
from desirepath_analytics.names import did_you_mean
from desirepath_analytics.spec import (
    Step,
    both,
    check_keys,
    duration_ms,
    duration_text,
    step_spec,
    without_notes,
)

__all__ = [
    "AllOf",
    "AnyOf",
    "Did",
    "HasTrait",
    "Member",
    "Not",
    "Ordered",
    "People",
    "Rule",
    "did",
    "did_not",
    "read_rule",
    "trait",
]

_MAX_DEPTH: Final = 20
_MAX_COUNT: Final = 2**31
_MAX_SUM: Final = 1e300
_MAX_STEPS: Final = 20
_DID_KEYS: Final = (
    *("did", "where", "at_least", "at_most", "exactly", "within"),
    *("on_days", "sum", "first", "more_than_before"),
)


class Rule(msgspec.Struct, frozen=True):
    """Something that is true or false of a person. Combine with `&`, `|` and `~`."""

    def __and__(self, other: Rule) -> Rule:
        return AllOf((*_parts(self, AllOf), *_parts(other, AllOf)))

    def __or__(self, other: Rule) -> Rule:
        return AnyOf((*_parts(self, AnyOf), *_parts(other, AnyOf)))

    def __invert__(self) -> Rule:
        return self.rule if isinstance(self, Not) else Not(self)

    def to_spec(self) -> dict[str, Any]:
        """The plain form; each kind of rule has its own."""
        raise QueryError(f"{type(self).__name__} is no rule", hint="use did, trait, Segment")


class AllOf(Rule, frozen=True):
    """Every rule holds."""

    rules: tuple[Rule, ...]

    def to_spec(self) -> dict[str, Any]:
        """`{"all": [...]}`."""
        return {"all": [rule.to_spec() for rule in self.rules]}


class AnyOf(Rule, frozen=True):
    """At least one rule holds."""

    rules: tuple[Rule, ...]

    def to_spec(self) -> dict[str, Any]:
        """`{"any": [...]}`."""
        return {"any": [rule.to_spec() for rule in self.rules]}


class Not(Rule, frozen=True):
    """The rule does not hold."""

    rule: Rule

    def to_spec(self) -> dict[str, Any]:
        """`{"not": {...}}`."""
        return {"not": self.rule.to_spec()}


class Did(Rule, frozen=True):
    """The person did something at least `least` and at most `most` times.

    `measure` is what is counted: `times`, distinct `days` (of UTC), or the `sum` of the property
    `of`. `how` may ask more of the window `within_ms`: that the `first` time ever lies in it, or
    that the person did it `more` often than in the window of the same length before.
    """

    step: Step
    least: float = 1
    most: float | None = None
    within_ms: int | None = None
    measure: Literal["times", "days", "sum"] = "times"
    of: Field | None = None
    how: Literal["any", "first", "more"] = "any"

    def at_least(self, times: int) -> Did:
        """No fewer times than this."""
        return msgspec.structs.replace(self, least=_times(times, "at_least"))

    def at_most(self, times: int) -> Did:
        """No more times than this; never at all counts, unless `at_least` says otherwise."""
        least = 0 if self.least == 1 and self.most is None else self.least
        return msgspec.structs.replace(self, most=_times(times, "at_most"), least=least)

    def exactly(self, times: int) -> Did:
        """Just so many times."""
        count = _times(times, "exactly")
        return msgspec.structs.replace(self, least=count, most=count)

    def on_days(self, days: int) -> Did:
        """On at least so many distinct days (of UTC)."""
        return msgspec.structs.replace(self, measure="days", least=_times(days, "on_days"))

    def sum(self, of: str, *, at_least: float | None = None, at_most: float | None = None) -> Did:
        """The values of a property add up to at least, or at most, so much (0 without any)."""
        least = -_MAX_SUM if at_least is None else _amount(at_least, "sum.at_least")
        most = None if at_most is None else _amount(at_most, "sum.at_most")
        if at_least is None and at_most is None:
            raise QueryError("sum: it wants at_least or at_most")
        return msgspec.structs.replace(
            self, measure="sum", of=Field.parse(of, "sum"), least=least, most=most
        )

    def first(self) -> Did:
        """For the first time ever in the window."""
        return msgspec.structs.replace(self, how="first")

    def more_than_before(self) -> Did:
        """More often in the window than in the one of the same length before it."""
        return msgspec.structs.replace(self, how="more")

    def then(self, event: Any, *, within: object = None) -> Ordered:
        """And then `event`, in this order, all `within` a span from the first (None: any)."""
        return Ordered((self.step,)).then(event, within=within)

    def within(self, span: object) -> Did:
        """In the span of time before the segment's moment: `"30d"`."""
        return msgspec.structs.replace(self, within_ms=duration_ms(span, "within", most_days=3660))

    def where(self, condition: Mapping[str, Any] | Condition | None = None, **more: Any) -> Did:
        """Only events that satisfy this; keyword arguments are properties."""
        wanted = both(parse_where(condition), parse_where(more or None))
        matches = tuple(
            msgspec.structs.replace(match, where=both(match.where, wanted))
            for match in self.step.matches
        )
        return msgspec.structs.replace(
            self, step=msgspec.structs.replace(self.step, matches=matches)
        )

    def to_spec(self) -> dict[str, Any]:
        """`{"did": event, "at_least": n, ...}`."""
        spec: dict[str, Any] = {"did": step_spec(self.step)}
        if self.measure == "sum":
            spec["sum"] = {"of": str(self.of)}
            if self.least > -_MAX_SUM:
                spec["sum"]["at_least"] = self.least
            if self.most is not None:
                spec["sum"]["at_most"] = self.most
        elif self.measure == "days":
            spec["on_days"] = self.least
        elif self.most == self.least:
            spec["exactly"] = self.least
        else:
            if self.least != 1 or self.most is not None:
                spec["at_least"] = self.least
            if self.most is not None:
                spec["at_most"] = self.most
        if self.within_ms is not None:
            spec["within"] = duration_text(self.within_ms)
        if self.how != "any":
            spec[{"first": "first", "more": "more_than_before"}[self.how]] = True
        return spec


class Ordered(Rule, frozen=True):
    """The person did several things in this order, within a span from the first."""

    steps: tuple[Step, ...]
    within_ms: int | None = None

    def then(self, event: Any, *, within: object = None) -> Ordered:
        """And then this; `within` counts from the very first step."""
        steps = (*self.steps, Step.of(event, f"then[{len(self.steps)}]"))
        if len(steps) > _MAX_STEPS:
            raise QueryError(f"then: at most {_MAX_STEPS} steps")
        span = self.within_ms if within is None else duration_ms(within, "within")
        return Ordered(steps, span)

    def to_spec(self) -> dict[str, Any]:
        """`{"then": [first, second, ...], "within": "1h"}`."""
        spec: dict[str, Any] = {"then": [step_spec(step) for step in self.steps]}
        if self.within_ms is not None:
            spec["within"] = duration_text(self.within_ms)
        return spec


class HasTrait(Rule, frozen=True):
    """A condition on the person's traits."""

    condition: Condition

    def to_spec(self) -> dict[str, Any]:
        """`{"trait": {...}}`."""
        return {"trait": where_spec(_bare(self.condition))}


class Member(Rule, frozen=True):
    """The person is in another segment of the plan."""

    name: str

    def to_spec(self) -> dict[str, Any]:
        """`{"segment": name}`."""
        return {"segment": self.name}


class People(Rule, frozen=True):
    """The person is on a list."""

    ids: tuple[str, ...]

    def to_spec(self) -> dict[str, Any]:
        """`{"people": [...]}`."""
        return {"people": list(self.ids)}


class trait:  # noqa: N801 (reads as a word in a rule)
    """A person's trait, to be compared: `trait("country").is_in(["SE"])`."""

    def __init__(self, name: str) -> None:
        self._name = name

    def equals(self, value: Any) -> HasTrait:
        """The trait is this."""
        return self.matches({"==": value})

    def is_in(self, values: Sequence[Any]) -> HasTrait:
        """The trait is one of these."""
        return self.matches({"in": list(values)})

    def exists(self) -> HasTrait:
        """The person has the trait."""
        return self.matches({"exists": True})

    def matches(self, wanted: Any) -> HasTrait:
        """Any condition in its plain form: `trait("age").matches({">=": 18})`."""
        return _trait_rule({self._name: wanted}, "trait")


def did(event: Any, where: Mapping[str, Any] | None = None) -> Did:
    """The person did `event` (a name, a list of names, or a step's mapping)."""
    rule = Did(Step.of(event, "did"))
    return rule.where(where) if where else rule


def did_not(event: Any, where: Mapping[str, Any] | None = None) -> Did:
    """The person never did `event`; `.within(...)`: not in that span."""
    return did(event, where).exactly(0)


def read_rule(spec: object, at: str = "segment", depth: int = 0) -> Rule:
    """Read the plain form.

    Raises
    ------
    QueryError
        With the place, what is wrong, and the nearest valid key.
    """
    if isinstance(spec, Rule):
        return spec
    if depth > _MAX_DEPTH:
        raise QueryError(f"{at}: nested more than {_MAX_DEPTH} deep")
    if not isinstance(spec, Mapping):
        raise QueryError(f"{at}: expected a mapping such as {{did: EVENT}}, found {spec!r}")
    spec = without_notes(spec)
    kinds = [key for key in spec if key in _READERS]
    if len(kinds) != 1:
        keys = ", ".join(map(str, spec)) or "nothing"
        near = did_you_mean(str(next(iter(spec), "")), _READERS) if not kinds else None
        raise QueryError(
            f"{at}: a rule has exactly one of {', '.join(_READERS)}; found {keys}", hint=near
        )
    kind = str(kinds[0])
    rule: Rule = _READERS[kind](spec, f"{at}.{kind}", depth)
    return rule


def _read_list(spec: Mapping[str, Any], at: str, depth: int) -> Rule:
    kind = "all" if "all" in spec else "any"
    check_keys(spec, (kind,), at)
    inner = spec[kind]
    if isinstance(inner, (str, bytes)) or not isinstance(inner, Sequence) or not inner:
        raise QueryError(f"{at}: expected a list of rules, found {inner!r}")
    rules = tuple(read_rule(rule, f"{at}[{i}]", depth + 1) for i, rule in enumerate(inner))
    return AllOf(rules) if kind == "all" else AnyOf(rules)


def _read_not(spec: Mapping[str, Any], at: str, depth: int) -> Rule:
    check_keys(spec, ("not",), at)
    return Not(read_rule(spec["not"], at, depth + 1))


def _read_did(spec: Mapping[str, Any], at: str, depth: int) -> Rule:
    check_keys(spec, _DID_KEYS, at)
    rule = Did(Step.of(spec["did"], at)).where(parse_where(spec.get("where"), f"{at}.where"))
    if "exactly" in spec and ("at_least" in spec or "at_most" in spec):
        raise QueryError(f"{at}: exactly stands alone, without at_least and at_most")
    if "exactly" in spec:
        rule = rule.exactly(spec["exactly"])
    if "at_most" in spec:
        rule = rule.at_most(spec["at_most"])
    if "at_least" in spec:
        rule = rule.at_least(spec["at_least"])
    if rule.most is not None and rule.most < rule.least:
        raise QueryError(f"{at}: at most {rule.most} and at least {rule.least} times")
    if ("sum" in spec and "on_days" in spec) or (
        ("sum" in spec or "on_days" in spec) and ({"exactly", "at_least", "at_most"} & set(spec))
    ):
        raise QueryError(f"{at}: one of times (at_least, ...), on_days and sum")
    if "on_days" in spec:
        rule = rule.on_days(spec["on_days"])
    if "sum" in spec:
        if not isinstance(spec["sum"], Mapping) or "of" not in spec["sum"]:
            raise QueryError(f"{at}.sum: expected of:, and at_least: or at_most:")
        check_keys(spec["sum"], ("of", "at_least", "at_most"), f"{at}.sum")
        more = {key: value for key, value in spec["sum"].items() if key != "of"}
        rule = rule.sum(spec["sum"]["of"], **more)
    for key, method in (("first", rule.first), ("more_than_before", rule.more_than_before)):
        if spec.get(key, False) is True:
            rule = method()
        elif key in spec:
            raise QueryError(f"{at}.{key}: it can only be true")
    if rule.how != "any" and {"exactly", "at_least", "at_most", "on_days", "sum"} & set(spec):
        raise QueryError(f"{at}: first and more_than_before stand without a count")
    if rule.how != "any" and "within" not in spec:
        raise QueryError(f"{at}: first and more_than_before need a window", hint="within: 30d")
    return rule.within(spec["within"]) if "within" in spec else rule


def _read_then(spec: Mapping[str, Any], at: str, depth: int) -> Rule:
    check_keys(spec, ("then", "within"), at)
    steps = spec["then"]
    if isinstance(steps, (str, bytes)) or not isinstance(steps, Sequence) or len(steps) < 2:
        raise QueryError(f"{at}: expected two or more steps, found {steps!r}")
    rule = Ordered((Step.of(steps[0], f"{at}[0]"),))
    for step in steps[1:]:
        rule = rule.then(step, within=spec.get("within"))
    return rule


def _read_did_not(spec: Mapping[str, Any], at: str, depth: int) -> Rule:
    check_keys(spec, ("did_not", "where", "within"), at)
    rule = did_not(spec["did_not"]).where(parse_where(spec.get("where"), f"{at}.where"))
    return rule.within(spec["within"]) if "within" in spec else rule


def _read_trait(spec: Mapping[str, Any], at: str, depth: int) -> Rule:
    check_keys(spec, ("trait",), at)
    return _trait_rule(spec["trait"], at)


def _read_member(spec: Mapping[str, Any], at: str, depth: int) -> Rule:
    check_keys(spec, ("segment",), at)
    if not isinstance(spec["segment"], str):
        raise QueryError(f"{at}: expected a segment's name, found {spec['segment']!r}")
    return Member(spec["segment"])


def _read_people(spec: Mapping[str, Any], at: str, depth: int) -> Rule:
    check_keys(spec, ("people",), at)
    ids = spec["people"]
    if isinstance(ids, (str, bytes)) or not isinstance(ids, Sequence):
        raise QueryError(f"{at}: expected a list of person ids, found {ids!r}")
    if not all(isinstance(one, str) for one in ids):
        raise QueryError(f"{at}: person ids are texts")
    return People(tuple(ids))


_READERS: Final = {
    "all": _read_list,
    "any": _read_list,
    "not": _read_not,
    "did": _read_did,
    "did_not": _read_did_not,
    "then": _read_then,
    "trait": _read_trait,
    "segment": _read_member,
    "people": _read_people,
}


def _trait_rule(spec: object, at: str) -> HasTrait:
    condition = parse_where(spec, at)
    if condition is None:
        raise QueryError(f"{at}: an empty condition")
    return HasTrait(_as_trait(condition, at))


def _as_trait(condition: Condition, at: str) -> Condition:
    """The same condition with every bare name a trait's."""
    if isinstance(condition, Combined):
        parts = tuple(_as_trait(part, at) for part in condition.parts)
        return msgspec.structs.replace(condition, parts=parts)
    if condition.field.kind not in (None, "trait"):
        raise QueryError(f"{at}: {condition.field} is no trait of a person")
    return msgspec.structs.replace(condition, field=Field(condition.field.name, "trait"))


def _bare(condition: Condition) -> Condition:
    if isinstance(condition, Combined):
        return msgspec.structs.replace(
            condition, parts=tuple(_bare(part) for part in condition.parts)
        )
    # A trait of a name that would be read as a prefix keeps its own.
    name = condition.field.name
    plain = Field.parse(name, "trait") == Field(name)
    return msgspec.structs.replace(condition, field=Field(name) if plain else condition.field)


def _parts(rule: Rule, kind: type[AllOf] | type[AnyOf]) -> tuple[Rule, ...]:
    if not isinstance(rule, Rule):
        raise QueryError(f"{rule!r} is no rule", hint="combine did(...), trait(...) and segments")
    return rule.rules if isinstance(rule, kind) else (rule,)


def _amount(value: object, at: str) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or abs(value) > _MAX_SUM:
        raise QueryError(f"{at}: {value!r} is no number")
    return value


def _times(value: object, at: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MAX_COUNT:
        raise QueryError(f"{at}: {value!r} is no number of times")
    return value
