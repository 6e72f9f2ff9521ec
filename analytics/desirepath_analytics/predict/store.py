"""Saved models: `data/models/NAME/TIME/` with `card.json` and `model.joblib`.

The card is plain JSON (question, cut-offs, versions, report, the model file's SHA-256) and is read
first: a model whose file is not the one its card names, or that another scikit-learn (major.minor)
wrote, is refused before it is opened. A model file is a pickle: load only what you or your server
trained. It holds trees, a calibrator and names; no person, no event. A folder appears whole or not
at all: it is written beside its place and renamed.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import joblib
import msgspec

from desirepath.errors import InputError, QueryError
from desirepath_analytics.predict.features import Inventory
from desirepath_analytics.predict.fitting import Fit
from desirepath_analytics.predict.matrix import Encoder
from desirepath_analytics.predict.model import TrainedModel
from desirepath_analytics.predict.report import Report
from desirepath_analytics.predict.spec import Propensity

__all__ = ["Card", "command", "load", "load_card", "model_folder", "save", "saved"]

_FORMAT: Final = 1
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_CARD: Final = "card.json"
_MODEL: Final = "model.joblib"


class Card(msgspec.Struct, frozen=True):
    """What is known of a saved model without opening it.

    Parameters
    ----------
    format
        The card's own version.
    sha256
        Of the model file.
    inventory, encoder, kept, floor
        What turns a person into the classifier's input, and bounds its answer.
    report
        Question, cut-offs, versions and measures.
    """

    format: int
    sha256: str
    inventory: Inventory
    encoder: Encoder
    kept: tuple[int, ...]
    floor: float
    report: Report


def save(model: TrainedModel, folder: str | os.PathLike[str]) -> Path:
    """Write `model` under `folder`/NAME/TIME.

    Parameters
    ----------
    model
        A trained model; its report's name becomes the folder's.
    folder
        The folder of all models, like `data/models`.

    Returns
    -------
    Path
        The folder that was written.
    """
    home = model_folder(folder, model.report.name)
    place = home / f"{model.report.trained_at:%Y%m%dT%H%M%S.%fZ}"
    draft = home / f".{place.name}.{os.getpid()}"
    try:
        home.mkdir(parents=True, exist_ok=True)
        draft.mkdir(mode=0o700)
        joblib.dump(model.fit.classifier, draft / _MODEL, compress=3)
        card = Card(
            format=_FORMAT,
            sha256=_sha256(draft / _MODEL),
            inventory=model.inventory,
            encoder=model.encoder,
            kept=model.kept,
            floor=model.fit.floor,
            report=model.report,
        )
        (draft / _CARD).write_bytes(msgspec.json.format(msgspec.json.encode(card)))
        draft.rename(place)
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        raise InputError(f"the model cannot be saved under {home}: {error.strerror}") from error
    return place


def saved(folder: str | os.PathLike[str], name: str) -> tuple[Path, ...]:
    """Every saved training of `name`, the oldest first."""
    home = model_folder(folder, name)
    if not home.is_dir():
        return ()
    return tuple(sorted(p for p in home.iterdir() if (p / _CARD).is_file() and p.name[0] != "."))


def load_card(folder: str | os.PathLike[str], name: str, at: str | None = None) -> Card:
    """The card of the latest training of `name`, or of the one made `at` (its folder's name).

    Raises
    ------
    QueryError
        If there is none.
    InputError
        If the card cannot be read.
    """
    return _read_card(_place(folder, name, at))


def load(folder: str | os.PathLike[str], name: str, at: str | None = None) -> TrainedModel:
    """The latest training of `name`, or the one made `at`.

    Raises
    ------
    QueryError
        If there is none.
    InputError
        If its files are damaged, or another scikit-learn (major.minor) wrote it.
    """
    place = _place(folder, name, at)
    card = _read_card(place)
    theirs, ours = card.report.versions.get("scikit-learn", "?"), version("scikit-learn")
    if theirs.split(".")[:2] != ours.split(".")[:2]:
        raise InputError(
            f"{place} was trained with scikit-learn {theirs}, here is {ours}: its trees may not "
            "mean the same",
            hint=_train_again(folder, name),
        )
    try:
        found = _sha256(place / _MODEL)
    except OSError as error:
        raise InputError(f"{place / _MODEL} cannot be read: {error.strerror}") from error
    if found != card.sha256:
        raise InputError(
            f"{place / _MODEL} is not the file its card names (SHA-256 differs)",
            hint=_train_again(folder, name),
        )
    classifier: Any = joblib.load(place / _MODEL)
    return TrainedModel(
        spec=Propensity.from_spec(card.report.spec),
        inventory=card.inventory,
        encoder=card.encoder,
        kept=card.kept,
        fit=Fit(classifier, card.report.calibrated_by, card.report.iterations, card.floor),
        report=card.report,
    )


def model_folder(folder: str | os.PathLike[str], name: str) -> Path:
    """Where the trainings of `name` are kept under `folder`.

    Raises
    ------
    QueryError
        If `name` could lead elsewhere.
    """
    if not _NAME.fullmatch(name):
        raise QueryError(
            f"{name!r} cannot name a model", hint="use letters, digits, dots, dashes, underscores"
        )
    return Path(folder) / name


def command(verb: str, folder: str | os.PathLike[str], name: str) -> str:
    """The command line that does `verb` to the model `name` kept under `folder`, to be copied."""
    data = Path(folder).parent
    where = "" if data == Path("data") else f" --data {data}"
    return f"desirepath predict {verb} {name}{where}"


def _train_again(folder: str | os.PathLike[str], name: str) -> str:
    return f"train it again: {command('train', folder, name)}"


def _place(folder: str | os.PathLike[str], name: str, at: str | None) -> Path:
    places = saved(folder, name)
    for place in reversed(places):
        if at is None or place.name == at:
            return place
    if at is not None and places:
        raise QueryError(
            f"{name!r} was not trained at {at!r}",
            hint="there are: " + ", ".join(place.name for place in places[-5:]),
        )
    raise QueryError(
        f"no model {name!r} is saved under {folder}",
        hint=f"train it first: {command('train', folder, name)}",
    )


def _read_card(place: Path) -> Card:
    try:
        return msgspec.json.decode((place / _CARD).read_bytes(), type=Card)
    except (OSError, msgspec.DecodeError) as error:
        raise InputError(f"{place / _CARD} cannot be read: {error}") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
