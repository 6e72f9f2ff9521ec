"""The live plan of a collector: fetched, and replaced.

Both go to `/v1/plan` with the write key (Basic authentication). Whatever goes wrong is one
`DeliveryError` that says what the collector answered and what to do.
"""

from __future__ import annotations

import re
from base64 import b64encode
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from desirepath.errors import DeliveryError, SettingsError
from desirepath.plan.model import Plan

__all__ = ["Published", "fetch", "publish"]

_TIMEOUT_S: Final = 10.0
_MAX_ANSWER_BYTES: Final = 4 * 1024 * 1024


class Published(msgspec.Struct, frozen=True):
    """What a collector made live."""

    plan: str
    version: str


def fetch(endpoint: str, write_key: str) -> Plan:
    """The plan that a collector checks events against now.

    Raises
    ------
    DeliveryError
        It cannot be reached, refuses the key, or has no plan.
    PlanError
        What it answers is no plan.
    """
    status, body = _call("GET", endpoint, write_key)
    if status == 404:
        raise DeliveryError(
            f"{endpoint} has no live plan", hint="Publish one: desirepath plan publish FILE URL"
        )
    if status != 200:
        raise _refusal(endpoint, status, body)
    return Plan.parse(body, f"{endpoint.rstrip('/')}/v1/plan")


def publish(plan: Plan, endpoint: str, write_key: str) -> Published:
    """Make a plan the live one of a collector.

    Raises
    ------
    DeliveryError
        It cannot be reached, refuses the key, or refuses the plan.
    """
    status, body = _call("PUT", endpoint, write_key, plan.source)
    if not 200 <= status < 300:
        raise _refusal(endpoint, status, body)
    answer = _decoded(body)
    return Published(
        plan=str(answer.get("plan", plan.name)), version=str(answer.get("version", plan.version))
    )


def _call(
    method: str, endpoint: str, write_key: str, body: bytes | None = None
) -> tuple[int, bytes]:
    # Here, not above: commands that send nothing start faster without it.
    import urllib3

    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise SettingsError(
            f"{endpoint!r} is no URL of a collector", hint="Write it as in http://127.0.0.1:8000"
        )
    token = b64encode(f"{write_key}:".encode()).decode()
    headers = {"Authorization": f"Basic {token}"}
    if body is not None:
        headers["Content-Type"] = "application/yaml"
    try:
        with urllib3.PoolManager(retries=False, timeout=_TIMEOUT_S) as pool:
            answer = pool.request(
                method,
                f"{endpoint.rstrip('/')}/v1/plan",
                body=body,
                headers=headers,
                preload_content=False,
            )
            try:
                return answer.status, answer.read(_MAX_ANSWER_BYTES)
            finally:
                answer.close()
    except urllib3.exceptions.HTTPError as error:
        raise DeliveryError(
            f"{endpoint} cannot be reached: {_reason(error)}",
            hint="Is the collector running (desirepath serve), and is this its URL?",
        ) from error


def _reason(error: Exception) -> str:
    text = re.sub(r"^\[Errno [0-9]+\] ", "", str(error).rpartition(": ")[2])
    return text or type(error).__name__


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        answer = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _refusal(endpoint: str, status: int, body: bytes) -> DeliveryError:
    error = _decoded(body).get("error")
    said = error if isinstance(error, dict) else {}
    message = str(said.get("message") or "").strip()
    hint = said.get("hint")
    if status in (401, 403):
        return DeliveryError(
            f"{endpoint} refused the write key: {message or status}",
            hint=hint or "Give the right one: --write-key KEY, or DESIREPATH_WRITE_KEY.",
        )
    if status == 404:
        return DeliveryError(
            f"{endpoint} has no /v1/plan (404)", hint=hint or "Is this a Desirepath collector?"
        )
    if message:
        return DeliveryError(f"{endpoint} refused ({status}): {message}", hint=hint)
    return DeliveryError(f"{endpoint} answered {status}", hint=hint)
