"""What the sender's thread imports late, and no fork may come in between.

A child that is forked while another thread imports a module is left with half of it, for ever.
So that thread imports under a lock, and a fork waits for the lock.
"""

from __future__ import annotations

import importlib
import os
import threading
from types import ModuleType
from typing import Final

__all__ = ["load_logging", "load_urllib3"]

_FORK_WAITS_S: Final = 5.0
"""For how long at most: an import that hangs must not make a fork hang."""

_WITH_URLLIB3: Final = ("email.utils", "encodings.idna")

# Re-entrant, because an import may collect garbage whose finaliser tracks.
_lock = threading.RLock()
_held = 0
_guarded = False


def load_urllib3() -> ModuleType:
    """The module `urllib3`, with all that it imports when it is used."""
    load_logging()
    with _lock:
        for name in _WITH_URLLIB3:
            importlib.import_module(name)
        import urllib3

        return urllib3


def load_logging() -> ModuleType:
    """The module `logging`."""
    global _guarded
    with _lock:
        import logging

        if not _guarded:
            # Once more behind it: it makes forks take its own lock, which importing takes, too,
            # and what is registered last is taken first.
            _guarded = True
            _guard_forks()
        return logging


def _guard_forks() -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=_before_fork,
            after_in_parent=_after_fork_in_parent,
            after_in_child=_after_fork_in_child,
        )


def _before_fork() -> None:
    global _held
    if _lock.acquire(timeout=_FORK_WAITS_S):
        _held += 1


def _after_fork_in_parent() -> None:
    global _held
    if _held:
        _held -= 1
        _lock.release()


def _after_fork_in_child() -> None:
    global _lock, _held
    _lock = threading.RLock()
    _held = 0


_guard_forks()
