"""Who and where: what holds for every event tracked inside a `with tracker.context(...)` block.

The scope lives in a context variable, so it follows an asyncio task and is not seen by the
others; threads start without one.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Final

import msgspec

__all__ = ["CURRENT", "Scope"]


class Scope(msgspec.Struct, frozen=True):
    """What a block adds to its events. Inner blocks win over outer ones.

    Parameters
    ----------
    user_id, anonymous_id, session_id
        The person and the visit.
    context
        Merged into the event's context.
    properties
        Merged into the properties of track, page and screen, below the call's own.
    consent
        Purposes this person has allowed (True) or refused (False).
    """

    user_id: str | None = None
    anonymous_id: str | None = None
    session_id: str | None = None
    context: dict[str, Any] = {}
    properties: dict[str, Any] = {}
    consent: dict[str, bool] = {}

    def inside(self, inner: Scope) -> Scope:
        """This scope with `inner` in it."""
        return Scope(
            user_id=inner.user_id if inner.user_id is not None else self.user_id,
            anonymous_id=inner.anonymous_id or self.anonymous_id,
            session_id=inner.session_id or self.session_id,
            context={**self.context, **inner.context},
            properties={**self.properties, **inner.properties},
            consent={**self.consent, **inner.consent},
        )


CURRENT: Final[ContextVar[Scope | None]] = ContextVar("desirepath_scope", default=None)
