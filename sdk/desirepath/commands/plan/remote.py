"""The arguments of plan commands that talk to a collector."""

from __future__ import annotations

import argparse
import os
from typing import Final
from urllib.parse import urlsplit

from desirepath.errors import SettingsError

__all__ = ["add_write_key", "endpoint", "write_key"]

_DEFAULT_ENDPOINT: Final = "http://127.0.0.1:8000"
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


def add_write_key(parser: argparse.ArgumentParser) -> None:
    """Add `--write-key`."""
    parser.add_argument(
        "--write-key",
        metavar="KEY",
        help="the collector's write key (default: DESIREPATH_WRITE_KEY, on this machine `dev`)",
    )


def endpoint(given: str | None) -> str:
    """The collector's URL: as given, else DESIREPATH_ENDPOINT, else the one on this machine."""
    return given or os.environ.get("DESIREPATH_ENDPOINT") or _DEFAULT_ENDPOINT


def write_key(args: argparse.Namespace, url: str | None = None) -> str:
    """The write key for a collector.

    Raises
    ------
    SettingsError
        None is given, and the collector is not on this machine, where `dev` is the default.
    """
    key = args.write_key or os.environ.get("DESIREPATH_WRITE_KEY")
    if key:
        return str(key)
    if urlsplit(url or args.against).hostname in _LOOPBACK:
        return "dev"
    raise SettingsError("no write key", hint="Give --write-key KEY, or set DESIREPATH_WRITE_KEY.")
