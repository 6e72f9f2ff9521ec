"""The picture of a report: how many outcomes the likeliest persons hold, and are the chances true.

Left, the gain curve: sort the holdout's persons by the model, take the first x %, find y % of all
outcomes; with its 95 % band, beside ranking by the days since the last event, and chance. Right,
calibration: what was predicted and what came, by tenths of the persons. One plotly figure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from desirepath_analytics.predict.report import Report

__all__ = ["figure"]

_INK: Final = "#1f2a37"
_QUIET: Final = "#6b7280"
_GRID: Final = "#e8eaee"
_MODEL: Final = "#0f766e"
_BAND: Final = "rgba(15, 118, 110, 0.16)"
_RECENCY: Final = "#d97706"
_FONT: Final = "Inter, system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
_TOP: Final = 0.1


def figure(report: Report) -> go.Figure:
    """Draw `report`.

    Parameters
    ----------
    report
        Of a trained model.

    Returns
    -------
    plotly.graph_objects.Figure
        Two panels; write it with `figure.write_html(path)`.
    """
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    fig = make_subplots(
        rows=1,
        cols=2,
        column_widths=[0.58, 0.42],
        horizontal_spacing=0.11,
        subplot_titles=("<b>Who is found first</b>", "<b>Do the chances come true?</b>"),
    )
    _gain(fig, go, report)
    _calibration(fig, go, report)
    auc, lift, rate = report.model.auc, report.model.lift, report.holdout.base_rate
    fig.update_layout(
        template="plotly_white",
        width=1080,
        height=560,
        margin={"l": 72, "r": 32, "t": 128, "b": 84},
        font={"family": _FONT, "size": 13, "color": _INK},
        paper_bgcolor="white",
        plot_bgcolor="white",
        title={
            "text": f"<b>{_escape(report.name)}</b>: {_escape(str(report.spec['outcome']))} within "
            f"{report.spec['horizon']}<br><span style='font-size:13px;color:{_QUIET}'>"
            f"{report.holdout.n:,} persons judged from {report.holdout_cutoff:%-d %B %Y}; "
            f"{rate.value:.1%} did it. AUC {auc.value:.3f} ({auc.low:.3f} to {auc.high:.3f}), "
            f"lift at 10 % {lift.value:.1f} ({lift.low:.1f} to {lift.high:.1f})</span>",
            "x": 0.02,
            "xanchor": "left",
            "y": 0.95,
            "yanchor": "top",
            "font": {"size": 21},
        },
        legend={
            "orientation": "h",
            "x": 0,
            "y": -0.14,
            "yanchor": "top",
            "font": {"color": _QUIET},
        },
        hovermode="closest",
        hoverlabel={"font": {"family": _FONT}},
    )
    fig.update_xaxes(**_axis())
    fig.update_yaxes(**_axis())
    fig.update_xaxes(title_text="share of persons, the likeliest first", range=[0, 1], row=1, col=1)
    fig.update_yaxes(title_text="share of all outcomes found", range=[0, 1.015], row=1, col=1)
    fig.update_xaxes(title_text="predicted chance", row=1, col=2)
    fig.update_yaxes(title_text="share that did it", row=1, col=2)
    for note in fig.layout.annotations[:2]:
        note.update(xanchor="left", font={"size": 15, "color": _INK})
    fig.layout.annotations[0].update(x=0)
    fig.layout.annotations[1].update(x=fig.layout.xaxis2.domain[0])
    return fig


def _gain(fig: go.Figure, go: Any, report: Report) -> None:
    model, recency = report.gain_model, report.gain_recency
    fig.add_trace(
        go.Scatter(
            x=[*model.share, *reversed(model.share)],
            y=[*model.high, *reversed(model.low)],
            fill="toself",
            fillcolor=_BAND,
            line={"width": 0},
            hoverinfo="skip",
            showlegend=False,
        ),
        row=1,
        col=1,
    )
    for name, curve, colour, width in (
        ("model", model, _MODEL, 3),
        ("days since the last event", recency, _RECENCY, 2),
    ):
        fig.add_trace(
            go.Scatter(
                x=curve.share,
                y=curve.gain,
                name=name,
                mode="lines",
                line={"color": colour, "width": width},
                hovertemplate="the first %{x:.0%} hold %{y:.0%}<extra>" + name + "</extra>",
            ),
            row=1,
            col=1,
        )
    fig.add_trace(
        go.Scatter(
            x=[0, 1],
            y=[0, 1],
            name="chance",
            mode="lines",
            line={"color": _QUIET, "width": 1, "dash": "dot"},
            hoverinfo="skip",
        ),
        row=1,
        col=1,
    )
    found = report.model.lift.value * _TOP
    fig.add_trace(
        go.Scatter(
            x=[_TOP],
            y=[found],
            mode="markers",
            marker={"color": "white", "size": 10, "line": {"color": _MODEL, "width": 3}},
            hoverinfo="skip",
            showlegend=False,
        ),
        row=1,
        col=1,
    )
    # The corner below the diagonal is always empty.
    fig.add_annotation(
        x=0.98,
        y=0.06,
        text=f"<b>○</b>  the likeliest 10 % hold <b>{found:.0%}</b> of all outcomes",
        showarrow=False,
        xanchor="right",
        yanchor="bottom",
        font={"color": _MODEL},
        row=1,
        col=1,
    )


def _calibration(fig: go.Figure, go: Any, report: Report) -> None:
    bins = report.calibration
    top = 1.06 * max(max(b.predicted, b.observed.high) for b in bins)
    fig.add_trace(
        go.Scatter(
            x=[0, top],
            y=[0, top],
            mode="lines",
            line={"color": _QUIET, "width": 1, "dash": "dot"},
            hoverinfo="skip",
            showlegend=False,
        ),
        row=1,
        col=2,
    )
    fig.add_trace(
        go.Scatter(
            x=[b.predicted for b in bins],
            y=[b.observed.value for b in bins],
            name="a tenth of the persons, with its 95 % interval",
            mode="markers",
            marker={"color": _MODEL, "size": 9},
            cliponaxis=False,
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [b.observed.high - b.observed.value for b in bins],
                "arrayminus": [b.observed.value - b.observed.low for b in bins],
                "color": _MODEL,
                "thickness": 1.4,
                "width": 0,
            },
            customdata=[b.n for b in bins],
            hovertemplate="predicted %{x:.1%}, came %{y:.1%}<br>%{customdata:,} persons"
            "<extra></extra>",
        ),
        row=1,
        col=2,
    )
    fig.update_xaxes(range=[0, top], row=1, col=2)
    fig.update_yaxes(range=[0, top], row=1, col=2)


def _axis() -> dict[str, Any]:
    return {
        "tickformat": ".0%",
        "gridcolor": _GRID,
        "zeroline": False,
        "showline": True,
        "linecolor": _GRID,
        "tickfont": {"color": _QUIET},
        "title_font": {"color": _QUIET, "size": 13},
        "nticks": 7,
    }


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
