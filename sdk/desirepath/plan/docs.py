"""A plan as one readable page, in HTML or Markdown.

The HTML is one file that needs nothing else: no font, script or picture is fetched, it follows
the reader's light or dark setting, prints well, and every event, journey and metric has an
anchor. Both forms show the same: what each event means, who owns it, what it carries, an example
that the plan admits, and everything that is built on it. The same plan gives the same bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from html import escape
from importlib.resources import files
from typing import Any, Final, Literal

from desirepath.plan.example import example_payload
from desirepath.plan.model import Event, Plan, Property
from desirepath.plan.uses import consumers
from desirepath.plan.words import (
    Phrase,
    Ref,
    Row,
    filter_words,
    metric_words,
    model_words,
    rows,
    rule_words,
    step_words,
    value_words,
)

__all__ = ["FORMATS", "page"]

FORMATS: Final = ("html", "markdown")

_TITLES: Final = {
    "events": "Events",
    "journeys": "Journeys",
    "segments": "Segments",
    "metrics": "Metrics",
    "models": "Models",
    "experiments": "Experiments",
    "traits": "Traits",
    "groups": "Group traits",
    "context": "Context",
}
_POLICIES: Final = {
    "on_violation": "A value breaks its rule",
    "unplanned_events": "An event is not planned",
    "unplanned_properties": "A property is not planned",
}
_OUTCOMES: Final = {
    "reject": "the event is quarantined",
    "drop": "it is left out",
    "accept": "it is kept and recorded",
}


def page(plan: Plan, format: Literal["html", "markdown"] = "html") -> str:
    """The page of a plan."""
    content = _Content(plan)
    return _Html(content).page() if format == "html" else _Markdown(content).page()


class _Content:
    """What both forms show."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.sections = [key for key in _TITLES if getattr(plan, key)]
        self.used_by: dict[str, list[Ref]] = {}
        self._anchors: dict[tuple[str, str], str] = {}
        taken: set[str] = set()
        for kind in self.sections:
            for name in getattr(plan, kind):
                slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "x"
                anchor, number = f"{kind}-{slug}", 1
                while anchor in taken:
                    number += 1
                    anchor = f"{kind}-{slug}-{number}"
                taken.add(anchor)
                self._anchors[kind, name] = anchor
        for consumer in consumers(plan):
            for use in consumer.uses:
                if use.kind == "event":
                    users = self.used_by.setdefault(use.name, [])
                    ref = Ref(consumer.kind, consumer.section.name)
                    if ref not in users:
                        users.append(ref)

    def anchor(self, kind: str, name: str) -> str | None:
        if kind == "properties":
            # `Order Completed.total` leads to its event, the longest name that fits.
            fitting = [event for event in self.plan.events if name.startswith(f"{event}.")]
            kind, name = "events", max(fitting, key=len, default="")
        return self._anchors.get((kind, name))

    def rows(self, properties: Mapping[str, Property]) -> list[Row]:
        return [row for prop in properties.values() for row in rows(prop)]

    def example(self, event: Event) -> str:
        payload = example_payload(event.properties)
        return json.dumps(
            {"event": event.name, "properties": payload}, indent=2, ensure_ascii=False
        )

    def policies(self) -> Iterator[tuple[str, str]]:
        for key, text in _POLICIES.items():
            policy = getattr(self.plan.defaults, key)
            yield text, f"{policy}: {_OUTCOMES[policy]}"

    def own_policies(self, event: Event) -> Iterator[str]:
        for key in ("on_violation", "unplanned_properties"):
            policy = getattr(event, key)
            if policy != getattr(self.plan.defaults, key):
                yield f"{_POLICIES[key]}: {_OUTCOMES[policy]}."

    def facts(self, kind: str, spec: Mapping[str, Any]) -> Iterator[tuple[str, Phrase]]:
        """What a section says besides its steps or its formula."""
        if kind == "segments":
            yield "Who", rule_words(spec)
        elif kind == "metrics":
            yield "Formula", metric_words(spec)
        elif kind == "models":
            yield "Predicts", model_words(spec)
        elif kind == "experiments":
            if isinstance(spec.get("exposure"), str):
                yield "Exposure", [Ref("events", spec["exposure"])]
            for key in ("metric", "metrics", "guardrails"):
                names = spec.get(key, [])
                refs = [Ref("metrics", n) for n in ([names] if isinstance(names, str) else names)]
                if refs:
                    yield key.capitalize(), _listed(refs)
        for key, title in (
            ("within", "Within"), ("order", "Order"), ("by", "Broken down by"),
            ("hold", "Constant"), ("entry", "Entry"), ("hypothesis", "Hypothesis"),
            ("lookback", "Looks back"), ("unit", "Unit"), ("owner", "Owner"),
        ):  # fmt: skip
            if key in spec and not (kind == "segments" and key == "within"):
                yield title, [value_words(spec[key])]
        if kind == "journeys" and spec.get("where"):
            yield "Only where", [filter_words(spec["where"])]
        if "exclude" in spec:
            rules = spec["exclude"] if isinstance(spec["exclude"], list) else [spec["exclude"]]
            yield "Excludes", _listed([part for one in rules for part in step_words(one)])
        if isinstance(spec.get("segment"), str) and kind == "journeys":
            yield "Of", [Ref("segments", spec["segment"])]
        goal = spec.get("goal")
        if isinstance(goal, Mapping):
            sides = [f"{key.replace('_', ' ')} {value_words(goal[key])}" for key in goal]
            yield "Goal", [", ".join(sides)]


def _listed(parts: list[Any]) -> list[str | Ref]:
    found: list[str | Ref] = []
    for part in parts:
        if found and isinstance(part, Ref):
            found.append(", ")
        found.append(part)
    return found


class _Html:
    def __init__(self, content: _Content) -> None:
        self._content = content
        self._plan = content.plan

    def page(self) -> str:
        plan = self._plan
        resources = files("desirepath.plan")
        style = resources.joinpath("docs_page.css").read_text(encoding="utf-8")
        script = resources.joinpath("docs_page.js").read_text(encoding="utf-8")
        title = f"{plan.name} {plan.version}"
        main = "".join(self._section(kind) for kind in self._content.sections)
        return (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            '<meta name="color-scheme" content="light dark">\n'
            f"<title>{escape(title)} · tracking plan</title>\n<style>\n{style}</style>\n"
            f"</head>\n<body>\n{self._nav()}<main>\n{self._header()}{main}"
            f"<footer>Made by <code>desirepath plan docs</code> from {escape(title)}.</footer>\n"
            f"</main>\n<script>\n{script}</script>\n</body>\n</html>\n"
        )

    def _nav(self) -> str:
        parts = [
            '<nav aria-label="Contents">\n'
            f'<a class="brand" href="#top">{escape(self._plan.name)}</a>\n'
            '<input id="filter" type="search" placeholder="Filter" aria-label="Filter the page">\n'
        ]
        for kind in self._content.sections:
            parts.append(f'<h2><a href="#{kind}">{_TITLES[kind]}</a></h2>\n<ul>\n')
            if kind not in ("traits", "groups", "context"):
                parts += [
                    f'<li><a href="#{self._content.anchor(kind, name)}">{escape(name)}</a></li>\n'
                    for name in getattr(self._plan, kind)
                ]
            parts.append("</ul>\n")
        return "".join(parts) + "</nav>\n"

    def _header(self) -> str:
        plan = self._plan
        counts = "".join(
            f'<li><a href="#{kind}"><b>{len(getattr(plan, kind))}</b> '
            f"{_counted(kind, len(getattr(plan, kind)))}</a></li>\n"
            for kind in self._content.sections
        )
        owner = f'<p class="meta">Owner <b>{escape(plan.owner)}</b></p>\n' if plan.owner else ""
        policies = "".join(
            f"<div><dt>{escape(text)}</dt><dd>{escape(outcome)}</dd></div>\n"
            for text, outcome in self._content.policies()
        )
        return (
            f'<header id="top">\n<h1>{escape(plan.name)} <span>{escape(plan.version)}</span></h1>\n'
            f'<p class="lead">{escape(plan.description)}</p>\n{owner}'
            f'<ul class="counts">\n{counts}</ul>\n'
            f'<dl class="policies">\n{policies}</dl>\n</header>\n'
        )

    def _section(self, kind: str) -> str:
        found = getattr(self._plan, kind)
        if kind == "events":
            body = "".join(map(self._event, found.values()))
        elif kind in ("traits", "groups", "context"):
            anchors = {name: self._content.anchor(kind, name) or "" for name in found}
            body = f"<article>\n{self._table(self._content.rows(found), anchors)}</article>\n"
        else:
            body = "".join(self._spec(kind, one.name, one.spec) for one in found.values())
        return f'<section id="{kind}">\n<h2>{_TITLES[kind]}</h2>\n{body}</section>\n'

    def _event(self, event: Event) -> str:
        anchor = self._content.anchor("events", event.name)
        users = self._content.used_by.get(event.name, [])
        status = "" if event.status == "live" else _badge(event.status)
        own = "".join(
            f"<p class='meta'>{escape(t)}</p>\n" for t in self._content.own_policies(event)
        )
        used = ""
        if users:
            links = " ".join(
                f'<span class="chip">{user.kind.removesuffix("s")} {self._phrase([user])}</span>'
                for user in users
            )
            used = f'<p class="used"><span>Used by</span> {links}</p>\n'
        found = self._content.rows(event.properties)
        table = self._table(found, {}) if found else '<p class="meta">It carries nothing.</p>\n'
        example = escape(self._content.example(event), quote=False)
        return (
            f'<article id="{anchor}" data-name="{escape(event.name.lower())}">\n'
            f'<h3><a href="#{anchor}">{escape(event.name)}</a>{status}'
            f"{_owner(event.owner)}</h3>\n{_paragraph(event.description)}{own}{table}"
            f"<details><summary>Example</summary><pre><code>{example}</code></pre></details>\n"
            f"{used}</article>\n"
        )

    def _table(self, found: list[Row], anchors: Mapping[str, str]) -> str:
        lines = []
        told = any(row.description for row in found)
        for row in found:
            marks = '<span class="required">required</span>' if row.required else ""
            if row.pii:
                marks += f'<span class="pii">pii: {escape(row.pii)}</span>'
            rules = "".join(f"<span>{escape(rule)}</span>" for rule in row.rules)
            path = f"<code>{escape(row.name)}</code>"
            if row.depth:
                path = f'<span class="inner" style="--depth:{row.depth}">{path}</span>'
            identity = f' id="{anchors[row.path]}"' if row.path in anchors else ""
            lines.append(
                f"<tr{identity}><th scope='row' title='{escape(row.path)}'>{path}{marks}</th>"
                f"<td>{escape(row.type)}</td><td class='rules'>{rules}</td>"
                + (f"<td>{escape(row.description)}</td></tr>\n" if told else "</tr>\n")
            )
        return (
            '<div class="scroll"><table>\n<thead><tr><th>Property</th><th>Type</th><th>Rules</th>'
            f"{'<th>Meaning</th>' if told else ''}</tr></thead>\n"
            f"<tbody>\n{''.join(lines)}</tbody>\n</table></div>\n"
        )

    def _spec(self, kind: str, name: str, spec: Mapping[str, Any]) -> str:
        anchor = self._content.anchor(kind, name)
        badge = _badge(spec["kind"]) if kind in ("metrics", "models") else ""
        steps = ""
        if kind == "journeys":
            items = "".join(
                f"<li>{self._phrase(step_words(step))}</li>\n" for step in spec["steps"]
            )
            steps = f'<ol class="steps">\n{items}</ol>\n'
        facts = "".join(
            f"<div><dt>{title}</dt><dd>{self._phrase(phrase)}</dd></div>\n"
            for title, phrase in self._content.facts(kind, spec)
        )
        facts = f"<dl>\n{facts}</dl>\n" if facts else ""
        return (
            f'<article id="{anchor}" data-name="{escape(name.lower())}">\n'
            f'<h3><a href="#{anchor}">{escape(name)}</a>{badge}</h3>\n'
            f"{_paragraph(str(spec.get('description', '')))}{steps}{facts}</article>\n"
        )

    def _phrase(self, phrase: Phrase) -> str:
        parts = []
        for part in phrase:
            if isinstance(part, str):
                parts.append(escape(part))
                continue
            anchor = self._content.anchor(part.kind, part.name)
            name = escape(part.name)
            parts.append(f'<a href="#{anchor}">{name}</a>' if anchor else name)
        return "".join(parts)


def _counted(kind: str, count: int) -> str:
    title = _TITLES[kind].lower()
    return title.removesuffix("s") if count == 1 else title


def _badge(text: str) -> str:
    return f'<span class="badge {escape(text)}">{escape(text)}</span>'


def _owner(owner: str) -> str:
    return f'<span class="owner">{escape(owner)}</span>' if owner else ""


def _paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>\n" if text.strip() else ""


class _Markdown:
    def __init__(self, content: _Content) -> None:
        self._content = content
        self._plan = content.plan

    def page(self) -> str:
        plan = self._plan
        lines = [f"# {_md(plan.name)} {plan.version}", ""]
        if plan.description:
            lines += [_md(plan.description), ""]
        if plan.owner:
            lines += [f"Owner: {_md(plan.owner)}", ""]
        lines += [f"- {text}: {outcome}" for text, outcome in self._content.policies()]
        for kind in self._content.sections:
            lines += ["", f'<a id="{kind}"></a>', "", f"## {_TITLES[kind]}"]
            found = getattr(plan, kind)
            if kind in ("traits", "groups", "context"):
                lines += ["", *self._table(self._content.rows(found))]
            for one in found.values() if kind not in ("traits", "groups", "context") else ():
                anchor = self._content.anchor(kind, one.name)
                lines += ["", f'<a id="{anchor}"></a>', "", f"### {_md(one.name)}", ""]
                lines += self._event(one) if kind == "events" else self._spec(kind, one.spec)
        lines += ["", f"Made by `desirepath plan docs` from {_md(plan.name)} {plan.version}."]
        return "\n".join(lines) + "\n"

    def _event(self, event: Event) -> list[str]:
        lines = [_md(event.description), ""] if event.description else []
        facts = [f"Status: {event.status}"]
        if event.owner:
            facts.append(f"owner: {_md(event.owner)}")
        users = [self._link(user) for user in self._content.used_by.get(event.name, ())]
        if users:
            facts.append(f"used by {', '.join(users)}")
        lines += ["; ".join(facts) + ".", *self._content.own_policies(event)]
        if event.properties:
            lines += ["", *self._table(self._content.rows(event.properties))]
        return [*lines, "", "```json", self._content.example(event), "```"]

    def _table(self, found: list[Row]) -> list[str]:
        lines = ["| Property | Type | Rules | Meaning |", "|---|---|---|---|"]
        for row in found:
            rules = [*(["required"] if row.required else []), *row.rules]
            if row.pii:
                rules.append(f"pii: {row.pii}")
            cells = (f"`{row.path}`", row.type, "; ".join(rules), row.description)
            lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
        return lines

    def _spec(self, kind: str, spec: Mapping[str, Any]) -> list[str]:
        lines = [_md(str(spec["description"])), ""] if spec.get("description") else []
        if kind == "journeys":
            steps = enumerate(spec["steps"], 1)
            lines += [*(f"{n}. {self._phrase(step_words(step))}" for n, step in steps), ""]
        if kind in ("metrics", "models"):
            lines.append(f"- Kind: {spec['kind']}")
        facts = self._content.facts(kind, spec)
        lines += [f"- {title}: {self._phrase(phrase)}" for title, phrase in facts]
        return lines

    def _phrase(self, phrase: Phrase) -> str:
        return "".join(_md(p) if isinstance(p, str) else self._link(p) for p in phrase)

    def _link(self, ref: Ref) -> str:
        anchor = self._content.anchor(ref.kind, ref.name)
        return f"[{_md(ref.name)}](#{anchor})" if anchor else _md(ref.name)


def _md(text: str) -> str:
    """Text in Markdown, where nothing in it means anything."""
    return re.sub(r"([\\`*_\[\]<>#|])", r"\\\1", re.sub(r"\s+", " ", text))


def _cell(text: str) -> str:
    if text.startswith("`"):
        return text.replace("|", "\\|")
    return _md(text)
