"""Which plan an event is checked against.

One plan is live. An event may name the version it was made for (`context.plan`); it is checked
against that one if it was ever published here, else against the live one. Without any plan every
event is accepted as it is, only made canonical. Replacing the live plan is one assignment, so a
request sees the old plan or the new one, never a mixture.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from desirepath.errors import DesirepathError, SettingsError
from desirepath.event import Kind
from desirepath.plan import Plan, Verdict, Violation
from desirepath.plan.wire import decode, encode, show
from desirepath_collector.personal import Personal
from desirepath_collector.settings import Settings

__all__ = ["Checker", "Checks", "Plans", "load_plan", "load_source_plans", "pii_key"]


class Checks(Protocol):
    """What a compiled plan does: `desirepath.plan.Validator`, or the check of no plan at all."""

    def check(self, kind: Kind, event: str, payload: bytes, context: bytes = b"{}") -> Verdict:
        """The verdict over one event."""


class Checker(NamedTuple):
    """A compiled plan with what is stored about it."""

    name: str
    version: str
    validator: Checks
    personal: Personal


class _NoPlan:
    """Accepts every JSON object that a plan could accept, canonically written."""

    def check(self, kind: Kind, event: str, payload: bytes, context: bytes = b"{}") -> Verdict:
        del event
        violations: list[Violation] = []
        canonical: list[bytes] = []
        place = "/traits" if kind in ("identify", "group") else "/properties"
        for raw, pointer in ((payload, place), (context, "/context")):
            reading = decode(raw)
            value = reading.value
            violations.extend(
                Violation(one.code, pointer + one.pointer, one.expected, one.found)
                for one in reading.violations
            )
            if not isinstance(value, dict):
                violations.append(Violation("type", pointer, "object", show(value)))
                value = {}
            canonical.append(encode(value))
        return Verdict(
            "quarantine" if violations else "accept", tuple(violations), canonical[0], canonical[1]
        )


NO_PLAN: Final = Checker("", "", _NoPlan(), Personal())


class Plans:
    """The live plan and every version that was published."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._live = NO_PLAN
        self._plan: Plan | None = None
        self._published: dict[tuple[str, str], Checker] = {}
        self._special: dict[str, Checker] = {}
        self.generation = 0

    @property
    def plan(self) -> Plan | None:
        """The live plan."""
        return self._plan

    @property
    def live(self) -> Checker:
        """The live plan, compiled."""
        return self._live

    def compile(self, plan: Plan) -> Checker:
        """Make a plan ready to check with, without making it live."""
        validator = plan.compile(pii_key=self._key)
        return Checker(plan.name, str(plan.version), validator, Personal(plan, self._key))

    def remember(self, plan: Plan) -> Checker:
        """Know a version that was published before."""
        checker = self._published[(plan.name, str(plan.version))] = self.compile(plan)
        self.generation += 1
        return checker

    def go_live(self, plan: Plan) -> None:
        """Check events against `plan` from now on."""
        checker = self.remember(plan)
        self._plan, self._live = plan, checker

    def assign(self, special: Mapping[str, Plan]) -> None:
        """Check the events of these sources by plans of their own."""
        self._special = {source: self.remember(plan) for source, plan in special.items()}
        self.generation += 1

    def of_source(self, source: str) -> Checker:
        """What events of a source are checked by: its own plan, or the live one."""
        return self._special.get(source, self._live)

    def named(self, name: str, version: str) -> Checker:
        """The version an event names, if it was published here, else the live plan."""
        return self._published.get((name, version), self._live)


def pii_key(configured: str, folder: Path) -> bytes:
    """The key for hashing personal data: the configured one, or one kept in the data folder.

    Raises
    ------
    SettingsError
        If the kept key cannot be read or made. Hashing with another key would break every join.
    """
    if configured:
        return configured.encode()
    path = folder / "pii.key"
    try:
        with contextlib.suppress(FileExistsError):
            made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                os.write(made, secrets.token_hex(32).encode())
                os.fsync(made)
            finally:
                os.close(made)
        key = path.read_bytes().strip()
    except OSError as error:
        raise SettingsError(f"{path} cannot be used: {error.strerror}") from None
    if len(key) < 32:
        raise SettingsError(
            f"{path} is damaged", hint="put back its copy, or set DESIREPATH_PII_KEY"
        )
    return key


def load_source_plans(settings: Settings) -> dict[str, Plan]:
    """The plans of sources that have one of their own, by the sources' names."""
    return {
        source.name: load_plan(source.plan)
        for source in settings.effective_sources()
        if source.plan
    }


def load_plan(path: str) -> Plan:
    """Read a plan file; a DesirepathError names the mistake's line and column."""
    try:
        return Plan.load(path)
    except OSError as error:
        raise DesirepathError(f"the plan {path} cannot be read: {error.strerror}") from None
