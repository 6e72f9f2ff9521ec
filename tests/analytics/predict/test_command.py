"""`desirepath predict`, from the words on a command line to files and tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from desirepath.cli import main

if TYPE_CHECKING:
    from .conftest import World

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """Run a command line on the world; the exit code and what was printed."""
    import contextlib

    from desirepath_analytics.commands import asking

    # One process may hold one engine: the open warehouse stands in for the data folder.
    monkeypatch.setattr(
        asking, "open_warehouse", lambda args: contextlib.nullcontext(world.warehouse)
    )
    monkeypatch.setenv("COLUMNS", "100")

    def call(*words: str) -> tuple[int, str, str]:
        code = main(["predict", *words, "--data", str(tmp_path)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def test_train_report_and_score(run: Run, tmp_path: Path) -> None:
    options = ("--outcome", "Order Completed", "--horizon", "14d", "--until", "2026-05-01")
    page = tmp_path / "picture.html"
    code, out, err = run("train", "will_buy", *options, "--html", str(page))
    assert (code, err) == (0, "")
    assert "who will do 'Order Completed' within 14d?" in out
    for title in ("AUC", "lift at 10 %", "Brier", "days since last event", "base rate"):
        assert title in out
    assert "<script src=" not in page.read_text()

    code, out, _ = run("report", "will_buy", "--json")
    report = json.loads(out)
    assert code == 0
    assert report["model"]["auc"]["value"] > report["recency"]["auc"]["value"]
    assert report["spec"]["outcome"] == "Order Completed"

    target = tmp_path / "scores.csv"
    code, out, _ = run("score", "will_buy", "--top", "50", "--out", str(target), "--json")
    rows = json.loads(out)["rows"]
    assert code == 0
    assert len(rows) == 50
    chances = [row["probability"] for row in rows]
    assert chances == sorted(chances, reverse=True)
    assert all(0 < chance < 1 for chance in chances)
    lines = target.read_text().splitlines()
    assert lines[0] == "person_id,probability,decile"
    assert len(lines) == 51

    code, out, _ = run("score", "will_buy", "--at", "2026-04-01")
    assert code == 0
    assert "more: --top N" in out


def test_a_question_from_a_file_and_options_over_it(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "question.json"
    file.write_text(json.dumps({"propensity": {"outcome": "Order Completed", "horizon": "3d"}}))
    words = ("train", "soon", "--spec", str(file), "--features", "activity,events")
    code, out, _ = run(*words, "--horizon", "7d", "--until", "2026-05-01", "--json")
    spec: dict[str, Any] = json.loads(out)["spec"]
    assert code == 0
    assert spec["horizon"] == "7d"
    assert spec["features"] == ["activity", "events"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("train", "unknown"), "the plan has no model 'unknown'"),
        (("train", "x", "--outcome", "Order Compleded"), "did you mean 'Order Completed'?"),
        (("train", "x", "--outcome", "Order Completed", "--horizon", "90d"), "needs 270 days"),
        (("train", "x", "--outcome", "Order Completed", "--where", "{"), "--where: not JSON"),
        (("train", "x", "--outcome", "Order Completed", "--where", "[]"), "a JSON object"),
        (("train", "x", "--spec", "nowhere.json"), "nowhere.json"),
        (("train", "../x", "--outcome", "Order Completed"), "cannot name a model"),
        (("score", "unknown"), "no model 'unknown' is saved"),
        (("score", "x", "--top", "0"), "--top: 0"),
        (("score", "x", "--out", "scores.txt"), "neither in .csv nor in .json"),
        (("report", "unknown"), "no model 'unknown' is saved"),
    ],
)
def test_a_mistake_is_one_message(run: Run, words: tuple[str, ...], message: str) -> None:
    code, out, err = run(*words)
    assert code == 1
    assert out == ""
    assert message in err
    assert "Traceback" not in err
