"""Glue between the tracker and web frameworks: one module a framework, one behaviour.

Each module imports its framework, and this package none. docs/integrations.md shows them all.
"""

from desirepath.integrations._request import Request
from desirepath.integrations._web import IGNORED, set_user

__all__ = ["IGNORED", "Request", "set_user"]
