"""A report and scores as tables for a terminal."""

from __future__ import annotations

from typing import Final

from rich.console import Console
from rich.table import Table

from desirepath_analytics.predict.measures import Estimate
from desirepath_analytics.predict.report import Report
from desirepath_analytics.predict.scores import Scores

__all__ = ["print_report", "print_scores"]

_IMPORTANT: Final = 8
_MEASURES: Final = (
    ("auc", "AUC", "{:.3f}"),
    ("lift", "lift at 10 %", "{:.2f}"),
    ("brier", "Brier score", "{:.4f}"),
    ("brier_skill", "Brier skill", "{:.1%}"),
    ("log_loss", "log loss", "{:.4f}"),
)


def print_report(report: Report) -> None:
    """Print what was asked, how good the answer is, whether its chances are true, and why."""
    console = Console(highlight=False, markup=False)
    spec, training, holdout = report.spec, report.training, report.holdout
    first, last = report.training_cutoffs[0], report.training_cutoffs[-1]
    console.print(f"{report.name}: who will do {spec['outcome']!r} within {spec['horizon']}?")
    console.print(
        f"Learnt at {len(report.training_cutoffs)} cut-offs from {first:%Y-%m-%d} to "
        f"{last:%Y-%m-%d}: {training.persons:,} persons, {training.n:,} rows, "
        f"{training.outcomes:,} outcomes."
    )
    console.print(
        f"Judged at {report.holdout_cutoff:%Y-%m-%d}: {holdout.n:,} persons, "
        f"{holdout.outcomes:,} outcomes, base rate {_share(holdout.base_rate)}; "
        f"{report.returning:,} of them were in training too, earlier."
    )
    measures = _table("", "model", "days since last event", "base")
    for field, title, form in _MEASURES:
        measures.add_row(
            title,
            _cell(getattr(report.model, field), form),
            _cell(getattr(report.recency, field), form),
            form.format(getattr(report.base, field).value),
        )
    console.print(measures)
    gap = report.advantage
    console.print(f"The model's AUC less that of the recency rule: {_cell(gap, '{:+.3f}')}.")
    chances = _table("tenth", "persons", "predicted", "did it")
    for number, part in enumerate(reversed(report.calibration), start=1):
        chances.add_row(str(number), f"{part.n:,}", f"{part.predicted:.1%}", _share(part.observed))
    console.print(chances)
    looks = _table("what it looks at", "AUC lost without it")
    for one in report.importance[:_IMPORTANT]:
        looks.add_row(one.feature, f"{one.drop:.4f} ± {one.sd:.4f}")
    console.print(looks)
    for note in report.notes:
        console.print(f"Note: {note}.")


def print_scores(scores: Scores, shown: int, *, total: int) -> None:
    """Print the first `shown` persons."""
    console = Console(highlight=False, markup=False)
    console.print(
        f"{scores.name}: {scores.spec['outcome']!r} within {scores.spec['horizon']} "
        f"of {scores.at:%Y-%m-%d %H:%M} UTC, {total:,} persons"
    )
    table = _table("person", "probability", "decile")
    for row in scores.rows[:shown]:
        table.add_row(row.person_id, f"{row.probability:.1%}", str(row.decile))
    console.print(table)
    if len(scores.rows) > shown:
        console.print(f"{len(scores.rows) - shown:,} more: --top N, --out FILE.csv, or --json.")


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column(first)
    for title in others:
        table.add_column(title, justify="right")
    return table


def _cell(estimate: Estimate, form: str) -> str:
    if estimate.low == estimate.high:
        return form.format(estimate.value)
    low, high = form.format(estimate.low), form.format(estimate.high)
    between = " to " if "-" in low + high else "–"
    return f"{form.format(estimate.value)} ({low}{between}{high})"


def _share(estimate: Estimate) -> str:
    return _cell(estimate, "{:.1%}")
