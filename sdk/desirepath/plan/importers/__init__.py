"""Other tools' tracking plans, turned into ours.

Each importer gives the plan as plain data and notes: one line for everything the other plan said
that ours cannot say, so nothing is lost in silence. Where a rule cannot be carried over, the
imported plan admits more, never less.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from desirepath.errors import InputError
from desirepath.plan.emit import to_yaml
from desirepath.plan.importers import json_schema, rudderstack, segment
from desirepath.plan.importers.translate import Imported
from desirepath.plan.reader import read

__all__ = ["FORMATS", "Imported", "import_plan"]

_Importer = Callable[[Sequence[tuple[str, Any]], str | None], Imported]

_IMPORTERS: Final[Mapping[str, tuple[Callable[[Any], bool], _Importer]]] = {
    "segment": (segment.recognise, segment.convert),
    "rudderstack": (rudderstack.recognise, rudderstack.convert),
    "json-schema": (json_schema.recognise, json_schema.convert),
}

FORMATS: Final = tuple(_IMPORTERS)


def import_plan(
    paths: Sequence[str | Path], *, format: str | None = None, name: str | None = None
) -> Imported:
    """Import the plan that these files, or the files of these folders, make together.

    Parameters
    ----------
    format
        One of `FORMATS`; None: recognised by what the files say.
    name
        The plan's name; None: what the other plan is called.

    Raises
    ------
    InputError
        A file cannot be read, or is nothing that can be imported.
    PlanError
        A YAML file is not YAML; with its place.
    """
    documents = [(str(path), _load(path)) for path in _files(paths)]
    if format is None:
        format = _recognise(documents)
    imported = _IMPORTERS[format][1](documents, name)
    if not any(imported.plan.get(key) for key in ("events", "traits", "groups", "context")):
        raise InputError(f"{documents[0][0]}: no event in it as {format}")
    return imported


def text_of(imported: Imported, source: str) -> str:
    """The imported plan as the text of a plan file; `source` names where it came from."""
    header = [f"Imported by `desirepath plan import` from {source}."]
    header.extend(f"Not carried over: {note}" for note in imported.notes)
    return to_yaml(imported.plan, header=header)


def _files(paths: Sequence[str | Path]) -> list[Path]:
    files: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = (file for file in path.rglob("*") if file.suffix in (".yaml", ".yml", ".json"))
            files.extend(sorted(inside))
        else:
            files.append(path)
    if not files:
        raise InputError(f"{paths[0]}: no .json or .yaml file in it")
    return files


def _load(path: Path) -> Any:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    if path.suffix.lower() in (".yaml", ".yml"):
        return read(raw, str(path)).plain()
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InputError(f"{path}: not JSON: {error}") from error


def _recognise(documents: Sequence[tuple[str, Any]]) -> str:
    for _, document in documents:
        for format, (recognises, _) in _IMPORTERS.items():
            if isinstance(document, dict) and recognises(document):
                return format
    raise InputError(
        f"{documents[0][0]}: neither a Segment or RudderStack tracking plan nor a JSON Schema",
        hint=f"Say what it is: --from {'|'.join(FORMATS)}.",
    )
