"""The client an app holds: six calls that never raise, never wait for the network, lose nothing.

Each call is turned into the JSON of Segment's specification, checked against the plan, and put
into a queue on disk, all in the caller's thread in a few microseconds; one background thread
delivers. What is wrong with an event is data (a count, one line in the log, the collector's
verdict), an exception only where the app asked for `on_violation="raise"`.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from desirepath import _settings
from desirepath._ledger import Ledger, OnLoss, Stats
from desirepath._pipeline import Pipeline
from desirepath._recorder import BeforeSend, Recorder
from desirepath.context import CURRENT, Scope
from desirepath.errors import SettingsError, ViolationError
from desirepath.event import Kind
from desirepath.privacy import Consent
from desirepath.typed import TypedEvent

if TYPE_CHECKING:
    from desirepath.plan import Plan

__all__ = ["BeforeSend", "Stats", "Tracker", "TypedEvent"]


class Tracker:
    """The client of one collector.

    Every setting that is left out is read from the environment (`DESIREPATH_ENDPOINT`,
    `DESIREPATH_WRITE_KEY`, ..., the name in capitals), then from its default.

    Parameters
    ----------
    endpoint
        The collector's URL. Default: http://127.0.0.1:8000.
    write_key
        Default: `dev`.
    plan
        A `Plan` or the path of its file: events are checked here as the collector will.
    queue
        `disk` (default) or `memory`.
    queue_dir
        The folder below which queues are kept. Default: the user's state folder. May be shared by
        processes and apps.
    max_queue_bytes
        The bound of the queue on disk. Default: 512 MiB.
    max_memory_bytes
        The bound of what waits in memory, where the disk refuses. Default: 16 MiB.
    max_event_bytes
        Larger events are not taken. Default: 256 KiB.
    batch_events, batch_bytes
        The most a request carries. Default: 1,000 events, 900,000 bytes before compression.
    flush_interval_s
        How long an event waits for others, in seconds. Default: 1.
    timeout_s
        How long the collector may take to answer, in seconds. Default: 10.
    exit_timeout_s
        How long `close` and the interpreter's exit may take, in seconds. Default: 2.
    gzip
        Whether to compress. Default: yes, except for a collector on this machine.
    on_violation
        `report` (default): count, log one line a kind, send; the collector decides. `raise`: a
        `ViolationError` in the caller, for development; the event is not sent.
    on_loss
        Called with a reason and a number of events, whenever events are lost.
    before_send
        Sees each message as a dict and may change it or, by returning None, discard it.
    sampling
        Event name -> share of people (0 to 1) whose events of that name are sent.
    purposes
        Event name -> purpose, for `consent`; others serve `analytics`.
    session_timeout_s
        Give the events of each person a session id that ends with a pause of so many seconds;
        1800 is the usual. Default: none is given.
    pii_key
        The key, at least 16 bytes and the collector's, with which values that the plan marks
        `pii: hash` are hashed before they are kept. Without one they become `"[pii]"`.
    app_context
        Merged into every event's context.
    enabled
        False: nothing is tracked at all.

    Raises
    ------
    SettingsError, PlanError
        If a setting or the plan is wrong. No other call raises.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        write_key: str | None = None,
        plan: Plan | str | Path | None = None,
        queue: _settings.QueueKind | None = None,
        queue_dir: str | Path | None = None,
        max_queue_bytes: int | None = None,
        max_memory_bytes: int | None = None,
        max_event_bytes: int | None = None,
        batch_events: int | None = None,
        batch_bytes: int | None = None,
        flush_interval_s: float | None = None,
        timeout_s: float | None = None,
        exit_timeout_s: float | None = None,
        gzip: bool | None = None,
        on_violation: _settings.OnViolation | None = None,
        on_loss: OnLoss | None = None,
        before_send: BeforeSend | None = None,
        sampling: Mapping[str, float] | None = None,
        purposes: Mapping[str, str] | None = None,
        session_timeout_s: float | None = None,
        pii_key: bytes | None = None,
        app_context: Mapping[str, Any] | None = None,
        enabled: bool | None = None,
    ) -> None:
        self._settings = settings = _settings.read(
            {
                "endpoint": endpoint,
                "write_key": write_key,
                "queue": queue,
                "queue_dir": queue_dir,
                "max_queue_bytes": max_queue_bytes,
                "max_memory_bytes": max_memory_bytes,
                "max_event_bytes": max_event_bytes,
                "batch_events": batch_events,
                "batch_bytes": batch_bytes,
                "flush_interval_s": flush_interval_s,
                "timeout_s": timeout_s,
                "exit_timeout_s": exit_timeout_s,
                "gzip": gzip,
                "on_violation": on_violation,
                "session_timeout_s": session_timeout_s,
                "enabled": enabled,
            }
        )
        self._plan = _load_plan(plan)
        self._consent = Consent(purposes or {})
        self._ledger = Ledger(on_loss)
        self._recorder = Recorder(
            settings,
            self._plan,
            self._ledger,
            self._consent,
            installation=self._installation,
            before_send=before_send,
            sampling=sampling or {},
            pii_key=_pii_key() if pii_key is None else pii_key,
            app_context=app_context or {},
        )
        self._pipeline = Pipeline(
            settings,
            self._ledger,
            refused=self._consent.refuses_record,
            after_fork=self._recorder.after_fork,
        )
        self._anonymous_id: str | None = None

    # -- the six calls ---------------------------------------------------------------------------

    def track(
        self,
        event: str | TypedEvent,
        properties: Mapping[str, Any] | None = None,
        *,
        user_id: str | None = None,
        anonymous_id: str | None = None,
        timestamp: datetime | str | None = None,
        context: Mapping[str, Any] | None = None,
        message_id: str | None = None,
    ) -> None:
        """Somebody did something.

        Parameters
        ----------
        event
            The event's name, or a typed event of the plan, which brings its properties.
        properties
            What is to be said about it; values of any type.
        user_id, anonymous_id
            Who: the ids that hold here, else those of `context(...)`, else this installation's.
        timestamp
            When, if not now; aware, or RFC 3339.
        context
            Merged into the event's context.
        message_id
            An id of the app's own, the same for the same event, however often it is sent.
        """
        try:
            if type(event) is not str:
                event, properties = _typed(event, properties)
            # As `_record`, one call less.
            record = self._recorder.record(
                "track", event, properties, user_id, anonymous_id, timestamp, context, message_id
            )
            if record is not None:
                self._pipeline.put(record)
        except ViolationError:
            raise
        except Exception as error:
            self._failed("track", error)

    def identify(
        self,
        user_id: str | None = None,
        traits: Mapping[str, Any] | None = None,
        *,
        anonymous_id: str | None = None,
        timestamp: datetime | str | None = None,
        context: Mapping[str, Any] | None = None,
        message_id: str | None = None,
    ) -> None:
        """This is who they are: ties `anonymous_id` to `user_id` and sets traits."""
        try:
            self._record(
                "identify", "", traits, user_id, anonymous_id, timestamp, context, message_id
            )
        except ViolationError:
            raise
        except Exception as error:
            self._failed("identify", error)

    def page(
        self,
        name: str | None = None,
        properties: Mapping[str, Any] | None = None,
        *,
        category: str | None = None,
        user_id: str | None = None,
        anonymous_id: str | None = None,
        timestamp: datetime | str | None = None,
        context: Mapping[str, Any] | None = None,
        message_id: str | None = None,
    ) -> None:
        """Somebody saw a page."""
        self._seen(
            "page", name, properties, category, user_id, anonymous_id, timestamp, context,
            message_id,
        )  # fmt: skip

    def screen(
        self,
        name: str | None = None,
        properties: Mapping[str, Any] | None = None,
        *,
        category: str | None = None,
        user_id: str | None = None,
        anonymous_id: str | None = None,
        timestamp: datetime | str | None = None,
        context: Mapping[str, Any] | None = None,
        message_id: str | None = None,
    ) -> None:
        """Somebody saw a screen of an app."""
        self._seen(
            "screen", name, properties, category, user_id, anonymous_id, timestamp, context,
            message_id,
        )  # fmt: skip

    def group(
        self,
        group_id: str,
        traits: Mapping[str, Any] | None = None,
        *,
        user_id: str | None = None,
        anonymous_id: str | None = None,
        timestamp: datetime | str | None = None,
        context: Mapping[str, Any] | None = None,
        message_id: str | None = None,
    ) -> None:
        """Somebody belongs to a group: a company, a team; sets the group's traits."""
        try:
            self._record(
                "group", "", traits, user_id, anonymous_id, timestamp, context, message_id,
                (("groupId", group_id),),
            )  # fmt: skip
        except ViolationError:
            raise
        except Exception as error:
            self._failed("group", error)

    def alias(
        self,
        previous_id: str,
        user_id: str | None = None,
        *,
        timestamp: datetime | str | None = None,
        context: Mapping[str, Any] | None = None,
        message_id: str | None = None,
    ) -> None:
        """The person known as `previous_id` is `user_id`."""
        try:
            self._record(
                "alias", "", None, user_id, None, timestamp, context, message_id,
                (("previousId", previous_id),),
            )  # fmt: skip
        except ViolationError:
            raise
        except Exception as error:
            self._failed("alias", error)

    # -- who, where, whether ---------------------------------------------------------------------

    @contextlib.contextmanager
    def context(
        self,
        *,
        user_id: str | None = None,
        anonymous_id: str | None = None,
        session_id: str | None = None,
        consent: Mapping[str, bool] | None = None,
        properties: Mapping[str, Any] | None = None,
        **context: Any,
    ) -> Iterator[None]:
        """What holds for every event inside the block, in this thread or asyncio task.

        Parameters
        ----------
        user_id, anonymous_id, session_id
            The person and the visit.
        consent
            This person's answers: purpose -> allowed.
        properties
            Added to the properties of track, page and screen.
        **context
            Merged into the context: `page={"url": ...}`, `locale="sv"`, ...
        """
        scope = Scope(
            user_id, anonymous_id, session_id, context, dict(properties or {}), dict(consent or {})
        )
        outer = CURRENT.get()
        token = CURRENT.set(scope if outer is None else outer.inside(scope))
        try:
            yield
        finally:
            CURRENT.reset(token)

    def register(self, properties: Mapping[str, Any]) -> None:
        """Add super properties: sent with every track, page and screen, below the call's own."""
        self._recorder.register(properties)

    def unregister(self, *names: str) -> None:
        """Take super properties away; all of them without a name."""
        self._recorder.unregister(names)

    def consent(self, **purposes: bool) -> None:
        """Note what is allowed: `consent(analytics=True, marketing=False)`.

        Events of a refused purpose are neither kept nor sent, also those that wait already.
        """
        self._consent.set(purposes)
        self._recorder.guard()
        self._purge()

    def opt_out(self) -> None:
        """Track nothing from here on, and discard what waits."""
        self._consent.opted_out = True
        self._recorder.guard()
        self._purge()

    def opt_in(self) -> None:
        """Track again."""
        self._consent.opted_out = False
        self._recorder.guard()

    # -- delivery --------------------------------------------------------------------------------

    def flush(self, timeout: float = 10.0) -> bool:
        """Send what waits and return when it is answered; False if that takes over `timeout` s.

        Inside a running event loop it only sets the sending off and returns False: use `aflush`.
        """
        pipeline = self._pipeline
        if pipeline.closed or not self._settings.enabled:
            return pipeline.queue.pending == 0
        if _in_event_loop():
            return pipeline.sender.hurry()()
        return pipeline.sender.flush(timeout)

    async def aflush(self, timeout: float = 10.0) -> bool:
        """`flush` without blocking the event loop."""
        import asyncio

        pipeline = self._pipeline
        if pipeline.closed or not self._settings.enabled:
            return pipeline.queue.pending == 0
        done = pipeline.sender.hurry()
        deadline = time.monotonic() + timeout
        while not done():
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(0.01)
        return True

    def close(self, timeout: float | None = None) -> None:
        """Send what can be sent within `timeout` s (`exit_timeout_s`); the rest stays on disk.

        Inside a running event loop it does not wait: the sender's thread does.
        """
        pipeline = self._pipeline
        pipeline.begin_close(self._settings.exit_timeout_s if timeout is None else timeout)
        if _in_event_loop():
            pipeline.end_close_later()
        else:
            pipeline.end_close()

    def stats(self) -> Stats:
        """What became of the events so far."""
        queue = self._pipeline.queue
        return self._ledger.stats(queue.taken, queue.pending)

    @property
    def plan(self) -> Plan | None:
        """The plan events are checked against."""
        return self._plan

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        endpoint = _settings.without_password(self._settings.endpoint)
        return f"Tracker({endpoint!r}, queued={self._pipeline.queue.pending})"

    # -- private ---------------------------------------------------------------------------------

    def _seen(
        self,
        kind: Kind,
        name: str | None,
        properties: Mapping[str, Any] | None,
        category: str | None,
        user_id: str | None,
        anonymous_id: str | None,
        timestamp: datetime | str | None,
        context: Mapping[str, Any] | None,
        message_id: str | None,
    ) -> None:
        try:
            named = {"name": name, "category": category}
            extra = tuple((key, value) for key, value in named.items() if value is not None)
            if properties is None or isinstance(properties, Mapping):
                properties = {**dict(extra), **(properties or {})}
            self._record(
                kind, "", properties, user_id, anonymous_id, timestamp, context, message_id, extra
            )
        except ViolationError:
            raise
        except Exception as error:
            self._failed(kind, error)

    def _record(self, kind: Kind, event: str, *rest: Any) -> None:
        record = self._recorder.record(kind, event, *rest)
        if record is not None:
            self._pipeline.put(record)

    def _installation(self) -> str:
        if self._anonymous_id is None:
            from desirepath._installation import installation_id

            self._anonymous_id = installation_id(self._pipeline.folder)
        return self._anonymous_id

    def _purge(self) -> None:
        if self._consent.limited and self._pipeline.queue.pending:
            self._pipeline.sender.purge()

    def _failed(self, call: str, error: Exception) -> None:
        self._ledger.refuse("error", f"{call}() failed: {error!r}")


def _load_plan(plan: Plan | str | Path | None) -> Plan | None:
    if plan is None:
        plan = os.environ.get("DESIREPATH_PLAN")
    if plan is None:
        return None
    from desirepath.plan import Plan

    if isinstance(plan, Plan):
        return plan
    if not isinstance(plan, str | Path):
        raise SettingsError(f"plan is {plan!r}, neither a Plan nor the path of one")
    return Plan.load(plan)


def _pii_key() -> bytes | None:
    text = os.environ.get("DESIREPATH_PII_KEY")
    return text.encode() if text else None


def _typed(
    event: Any, properties: Mapping[str, Any] | None
) -> tuple[str, Mapping[str, Any] | None]:
    name = getattr(event, "__event__", None)
    if isinstance(name, str):
        return name, {**event.to_properties(), **(properties or {})}
    if isinstance(event, str):
        return str(event), properties
    raise TypeError(f"the event is {event!r}, neither a name nor a typed event")


def _in_event_loop() -> bool:
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return False
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
