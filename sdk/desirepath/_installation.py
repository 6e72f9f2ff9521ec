"""The anonymous id of this installation, for apps that name no person."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from desirepath import _ids

__all__ = ["installation_id"]


def installation_id(folder: Path | None) -> str:
    """The id kept in `folder`, made at the first call; a new one where there is no folder."""
    fresh = _ids.message_id()
    if folder is None:
        return fresh
    path = folder / "anonymous_id"
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Written aside and linked, so that two processes agree and nobody reads half an id.
        draft = folder / f"anonymous_id.{os.getpid()}"
        draft.write_text(fresh)
        try:
            os.link(draft, path)
        except FileExistsError:
            fresh = path.read_text().strip() or fresh
        finally:
            draft.unlink(missing_ok=True)
    return fresh
