"""The version, for where importing `importlib.metadata` (18 ms) would cost too much."""

from typing import Final

__all__ = ["VERSION"]

VERSION: Final = "0.1.0"
