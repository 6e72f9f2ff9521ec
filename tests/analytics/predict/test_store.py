"""Saved models: whole or not at all, and refused where they may not mean the same."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from desirepath.errors import InputError, QueryError
from desirepath_analytics.predict import TrainedModel, load, load_card, save, saved

if TYPE_CHECKING:
    from .conftest import World


@pytest.fixture
def place(model: TrainedModel, tmp_path: Path) -> Path:
    return save(model, tmp_path)


def test_a_saved_model_scores_the_same(
    model: TrainedModel, world: World, place: Path, tmp_path: Path
) -> None:
    again = load(tmp_path, "will_buy")
    assert again.report == model.report
    assert again.spec == model.spec
    assert again.score(world.warehouse).rows == model.score(world.warehouse).rows
    assert saved(tmp_path, "will_buy") == (place,)
    assert load_card(tmp_path, "will_buy", place.name).report == model.report


def test_no_person_is_in_the_files(place: Path) -> None:
    for file in place.iterdir():
        raw = file.read_bytes()
        assert not any(f'"u{number}"'.encode() in raw for number in range(3000))
    assert stat.S_IMODE(place.stat().st_mode) & 0o077 == 0


def test_another_scikit_learn_is_refused(place: Path, tmp_path: Path) -> None:
    card = json.loads((place / "card.json").read_text())
    card["report"]["versions"]["scikit-learn"] = "0.24.2"
    (place / "card.json").write_text(json.dumps(card))
    with pytest.raises(InputError, match=r"trained with scikit-learn 0\.24\.2, here is") as refused:
        load(tmp_path, "will_buy")
    again = f"desirepath predict train will_buy --data {tmp_path.parent}"
    assert refused.value.hint == f"train it again: {again}"


def test_another_file_is_refused_before_it_is_opened(place: Path, tmp_path: Path) -> None:
    (place / "model.joblib").write_bytes(b"anything")
    with pytest.raises(InputError, match="SHA-256 differs"):
        load(tmp_path, "will_buy")
    (place / "model.joblib").unlink()
    with pytest.raises(InputError, match="cannot be read"):
        load(tmp_path, "will_buy")


def test_a_broken_card_is_one_message(place: Path, tmp_path: Path) -> None:
    (place / "card.json").write_text("{")
    with pytest.raises(InputError, match=r"card\.json cannot be read"):
        load(tmp_path, "will_buy")


def test_a_model_that_is_not_there(place: Path, tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="no model 'other' is saved"):
        load(tmp_path, "other")
    with pytest.raises(QueryError, match="was not trained at '2020'"):
        load(tmp_path, "will_buy", "2020")


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 101])
def test_a_name_cannot_leave_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(QueryError, match="cannot name a model"):
        load(tmp_path, name)


def test_a_folder_that_cannot_be_written(model: TrainedModel, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be saved"):
        save(model, tmp_path / "file")
