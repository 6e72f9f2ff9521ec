"""The pictures of the answers, as plotly figures: one look for all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import plotly.graph_objects as go

if TYPE_CHECKING:
    from desirepath_analytics.behaviour.funnel import FunnelResult, FunnelStep
    from desirepath_analytics.behaviour.lifecycle import LifecycleResult
    from desirepath_analytics.behaviour.paths import PathsResult
    from desirepath_analytics.behaviour.retention import RetentionResult
    from desirepath_analytics.behaviour.stickiness import StickinessResult
    from desirepath_analytics.behaviour.trend import TrendResult

__all__ = [
    "funnel_figure",
    "funnel_over_figure",
    "lifecycle_figure",
    "number_figure",
    "paths_figure",
    "retention_figure",
    "stickiness_figure",
    "trend_figure",
    "value_name",
]

PALETTE: Final = (
    *("#2f6f8f", "#d97742", "#5b8c5a", "#9c5a8a", "#c2a13a"),
    *("#4a5a8c", "#a84c4c", "#3f8f86", "#7a6a55", "#8aa6c1"),
)
"""Colours that stay apart for colour-blind readers, used in this order."""

_DROPPED: Final = "#d9dee3"
_MAX_GROUPS: Final = len(PALETTE)
_LAYOUT: Final[dict[str, Any]] = {
    "template": "plotly_white",
    "colorway": list(PALETTE),
    "font": {"family": "system-ui, sans-serif", "size": 13},
    "margin": {"l": 60, "r": 20, "t": 50, "b": 60},
}


def number_figure(value: int, unit: str) -> go.Figure:
    """One number, large."""
    figure = go.Figure(go.Indicator(mode="number", value=value, title={"text": unit}))
    figure.update_layout(**_LAYOUT)
    return figure


def funnel_figure(result: FunnelResult) -> go.Figure:
    """Bars of the share of the start that reached each step; grey is what dropped out."""
    figure = go.Figure()
    labels = [f"{number}. {step.name}" for number, step in enumerate(result.steps, 1)]
    if not result.breakdown:
        # Grey bars behind, as high as the step before: what they show above is what dropped out,
        # and the intervals of the bars in front stay whole.
        before = [1.0, *((step.from_start.value or 0.0) for step in result.steps[:-1])]
        figure.add_trace(
            go.Bar(
                x=labels,
                y=before,
                name="dropped out",
                marker={"color": _DROPPED},
                text=[f"−{step.dropped:,}" if step.dropped else "" for step in result.steps],
                textposition="inside",
                insidetextanchor="end",
                textangle=0,
                hovertemplate="%{x}<br>%{text} dropped out<extra></extra>",
            )
        )
        figure.add_trace(_bar(labels, result.steps, "reached", PALETTE[0]))
        figure.update_layout(barmode="overlay")
    else:
        shown = [(values, steps) for values, steps in result.breakdown if steps[0].count]
        for colour, (values, steps) in zip(PALETTE, shown[:_MAX_GROUPS], strict=False):
            figure.add_trace(_bar(labels, steps, value_name(values), colour))
        figure.update_layout(barmode="group")
    figure.update_layout(
        title="Funnel",
        yaxis={"title": "share of those who began", "tickformat": ".0%", "rangemode": "tozero"},
        **_LAYOUT,
    )
    return figure


def funnel_over_figure(result: FunnelResult) -> go.Figure:
    """The conversion of each period in which attempts began, with its interval."""
    figure = go.Figure()
    labels = [one.label for one in result.periods]
    for colour, number in zip(PALETTE, range(1, len(result.steps)), strict=False):
        shares = [one.steps[number].from_start for one in result.periods]
        figure.add_trace(
            go.Scatter(
                x=labels,
                y=[share.value for share in shares],
                name=f"{number + 1}. {result.steps[number].name}",
                mode="lines+markers",
                line={"color": colour},
                marker={
                    "symbol": ["circle" if p.complete else "circle-open" for p in result.periods]
                },
                error_y={
                    "type": "data",
                    "array": [(s.high or 0) - (s.value or 0) for s in shares],
                    "arrayminus": [(s.value or 0) - (s.low or 0) for s in shares],
                    "thickness": 1,
                },
            )
        )
    figure.update_layout(
        title="Funnel over time (open circles: the window has not elapsed)",
        yaxis={"title": "share of those who began", "tickformat": ".0%", "rangemode": "tozero"},
        **_LAYOUT,
    )
    return figure


def retention_figure(result: RetentionResult) -> go.Figure:
    """A heat map: a row a cohort, a column a period; what is not over is left empty."""
    shares = [
        [None if c is None or not cohort.size else c / cohort.size for c in cohort.cells]
        for cohort in result.cohorts
    ]
    figure = go.Figure(
        go.Heatmap(
            z=shares,
            x=list(result.columns),
            y=[f"{cohort.label} ({cohort.size:,})" for cohort in result.cohorts],
            zmin=0,
            zmax=1,
            colorscale=[[0, "#f4f7f9"], [1, PALETTE[0]]],
            colorbar={"tickformat": ".0%"},
            texttemplate="%{z:.0%}",
            hovertemplate="%{y}, %{x}: %{z:.1%}<extra></extra>",
        )
    )
    figure.update_layout(
        title="Retention",
        xaxis={"title": f"{result.question.unit}s after", "type": "category"},
        yaxis={"autorange": "reversed", "type": "category"},
        **_LAYOUT,
    )
    return figure


def lifecycle_figure(result: LifecycleResult) -> go.Figure:
    """Stacked bars a period; the dormant stand below the line."""
    labels = [one.label for one in result.periods]
    figure = go.Figure()
    for colour, state in zip(PALETTE, ("new", "returning", "resurrecting"), strict=False):
        counts = [getattr(one, state) for one in result.periods]
        figure.add_trace(go.Bar(x=labels, y=counts, name=state, marker={"color": colour}))
    dormant = [-one.dormant for one in result.periods]
    figure.add_trace(go.Bar(x=labels, y=dormant, name="dormant", marker={"color": _DROPPED}))
    figure.update_layout(
        title="Lifecycle", barmode="relative", yaxis={"title": "people"}, **_LAYOUT
    )
    return figure


def stickiness_figure(result: StickinessResult) -> go.Figure:
    """Bars: people active in exactly so many periods."""
    figure = go.Figure(
        go.Bar(
            x=[group.periods for group in result.groups],
            y=[group.exactly for group in result.groups],
            customdata=[[group.at_least.value] for group in result.groups],
            hovertemplate="%{x}: %{y:,} people; at least so many: %{customdata[0]:.1%}"
            "<extra></extra>",
        )
    )
    figure.update_layout(
        title="Stickiness",
        xaxis={"title": f"{result.question.unit}s active"},
        yaxis={"title": "people"},
        **_LAYOUT,
    )
    return figure


def trend_figure(result: TrendResult) -> go.Figure:
    """A line a series and value, bands where there are intervals, the time before dotted."""
    figure = go.Figure()
    labels = list(result.labels)
    for number, line in enumerate(result.lines):
        colour = PALETTE[number % len(PALETTE)]
        name = f"{line.name}, {value_name(line.by)}" if line.by else line.name
        if any(point.low is not None for point in line.points):
            known = [(x, p) for x, p in zip(labels, line.points, strict=True) if p.low is not None]
            band = [p.high for _, p in known] + [p.low for _, p in reversed(known)]
            figure.add_trace(
                go.Scatter(
                    x=[x for x, _ in known] + [x for x, _ in reversed(known)],
                    y=band,
                    fill="toself",
                    line={"width": 0},
                    fillcolor=colour,
                    opacity=0.2,
                    hoverinfo="skip",
                    showlegend=False,
                )
            )
        figure.add_trace(go.Scatter(x=labels, y=line.values, name=name, line={"color": colour}))
    for number, line in enumerate(result.previous):
        figure.add_trace(
            go.Scatter(
                x=labels,
                y=line.values,
                name=f"{line.name}, before",
                line={"color": PALETTE[number % len(PALETTE)], "dash": "dot"},
            )
        )
    figure.update_layout(title="Trend", yaxis={"rangemode": "tozero"}, **_LAYOUT)
    return figure


def paths_figure(result: PathsResult) -> go.Figure:
    """A Sankey: a column a place, the most frequent names of each, where visits end."""
    seen: dict[tuple[int, str], int] = {}
    for place, source, target, n in result.transitions:
        seen[place, source] = seen.get((place, source), 0) + n
        if target is not None:
            seen[place + 1, target] = seen.get((place + 1, target), 0) + n
    kept: dict[tuple[int, str], int] = {}
    for place in {place for place, _ in seen}:
        names = sorted((n for p, n in seen if p == place), key=lambda n: -seen[place, n])
        for name in names[:_MAX_GROUPS]:
            kept[place, name] = len(kept)
    labels = [name for _, name in kept]
    links: dict[tuple[int, int], int] = {}

    def node(place: int, name: str) -> int:
        key = (place, name if (place, name) in kept or name == "(end)" else "(other)")
        if key not in kept:
            kept[key] = len(kept)
            labels.append(key[1])
        return kept[key]

    for place, source, target, n in result.transitions:
        pair = (node(place, source), node(place + 1, "(end)" if target is None else target))
        links[pair] = links.get(pair, 0) + n
    figure = go.Figure(
        go.Sankey(
            node={"label": labels, "pad": 12, "thickness": 14, "color": PALETTE[0]},
            link={
                "source": [source for source, _ in links],
                "target": [target for _, target in links],
                "value": list(links.values()),
                "color": "rgba(47, 111, 143, 0.25)",
            },
        )
    )
    figure.update_layout(title="Paths", **_LAYOUT)
    return figure


def value_name(values: Sequence[str | None]) -> str:
    """What to call a value of a breakdown."""
    return ", ".join("(none)" if value is None else value for value in values)


def _bar(labels: list[str], steps: Sequence[FunnelStep], name: str, colour: str) -> go.Bar:
    shares = [step.from_start.value or 0.0 for step in steps]
    above = [
        (step.from_start.high or 0.0) - share for step, share in zip(steps, shares, strict=True)
    ]
    below = [
        share - (step.from_start.low or 0.0) for step, share in zip(steps, shares, strict=True)
    ]
    return go.Bar(
        x=labels,
        y=shares,
        name=name,
        marker={"color": colour},
        error_y={"type": "data", "array": above, "arrayminus": below, "thickness": 1.5},
        text=[f"{step.count:,}<br>{share:.1%}" for step, share in zip(steps, shares, strict=True)],
        # At the foot of the bar: at its head the number would stand on the interval's whisker.
        textposition="inside",
        insidetextanchor="start",
        textangle=0,
        customdata=[[step.count, step.from_previous.value] for step in steps],
        hovertemplate=(
            "%{x}<br>%{customdata[0]:,} people, %{y:.1%} of the start<br>"
            "%{customdata[1]:.1%} of the step before<extra></extra>"
        ),
    )
