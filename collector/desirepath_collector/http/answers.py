"""What the collector answers: the success body with its verdicts, and one table of errors.

Every refusal is a `Refusal` with a code of `ERRORS`; the table says its HTTP status and whether
the client may send the same request again. A retryable refusal carries `Retry-After`. Clients,
the documentation and the OpenAPI document read this table, so a code is written once.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec

from desirepath.plan.violations import Violation

__all__ = ["ERRORS", "Answer", "ErrorKind", "Refusal", "VerdictReport", "success"]


class ErrorKind(NamedTuple):
    """One row of the error table."""

    status: int
    retryable: bool
    meaning: str


ERRORS: Final[dict[str, ErrorKind]] = {
    "malformed": ErrorKind(
        400, False, "The body is not the JSON it should be; `pointer` or the message says where."
    ),
    "bad_encoding": ErrorKind(
        400, False, "The compressed body is corrupt, truncated or followed by rubbish."
    ),
    "bad_plan": ErrorKind(
        400, False, "The plan that was published has a mistake; the old one stays live."
    ),
    "bad_request": ErrorKind(400, False, "The request is not valid HTTP, or lacks something."),
    "unauthorized": ErrorKind(401, False, "No write key or read token, or an unknown one."),
    "forbidden": ErrorKind(
        403, False, "The key is known but may not do this, or not from this origin."
    ),
    "not_found": ErrorKind(404, False, "There is no such address."),
    "method_not_allowed": ErrorKind(405, False, "The address does not take this method."),
    "timeout": ErrorKind(408, True, "The request did not arrive whole in time."),
    "length_required": ErrorKind(411, False, "A body needs Content-Length or chunked encoding."),
    "too_large": ErrorKind(
        413, False, "The body, inflated or not, or its batch is over a limit; send less at once."
    ),
    "unsupported_type": ErrorKind(
        415, False, "Neither JSON, text nor a form; or an unknown Content-Encoding."
    ),
    "rate_limited": ErrorKind(429, True, "The source or the address sends more than it may."),
    "headers_too_large": ErrorKind(431, False, "The request's head is over the limit."),
    "internal": ErrorKind(500, True, "A fault of the collector; nothing of the request was kept."),
    "full": ErrorKind(
        503, True, "The spool is full; nothing was evicted, nothing of this request was kept."
    ),
    "busy": ErrorKind(503, True, "More requests are in flight than the memory allows."),
    "disk": ErrorKind(503, True, "The disk failed to make the events durable."),
    "stopping": ErrorKind(503, True, "The collector is stopping."),
}

_encode: Final = msgspec.json.Encoder().encode


class Answer(NamedTuple):
    """A status and a JSON body, with the few headers that differ from the usual."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


class Refusal(Exception):
    """A request that is answered with an error of the table.

    Parameters
    ----------
    code
        A key of `ERRORS`.
    message
        What is wrong, for the client's developer. Holds nothing secret.
    pointer
        JSON pointer into the body, where that helps.
    hint
        What to do.
    retry_after_s
        Seconds the client should wait; 1 by default for retryable codes.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        pointer: str | None = None,
        hint: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.kind = ERRORS[code]
        self.message = message
        self.pointer = pointer
        self.hint = hint
        self.retry_after_s = retry_after_s

    def answer(self) -> Answer:
        """As an HTTP answer."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.pointer is not None:
            error["pointer"] = self.pointer
        if self.hint is not None:
            error["hint"] = self.hint
        headers: tuple[tuple[str, str], ...] = ()
        if self.kind.retryable:
            # Whole seconds, and never 0: a client that obeys 0 comes back at once.
            wait_s = max(1, int(-(-(self.retry_after_s or 1) // 1)))
            headers = (("Retry-After", str(wait_s)),)
        if self.kind.status == 401:
            headers = (("WWW-Authenticate", 'Basic realm="desirepath"'),)
        return Answer(self.kind.status, _encode({"success": False, "error": error}), headers)


class VerdictReport(msgspec.Struct, frozen=True, rename="camel"):
    """An event of a batch that did not simply pass."""

    index: int
    message_id: str
    violations: tuple[Violation, ...]


_ALL_GOOD: Final = {
    n: Answer(200, b'{"success":true,"accepted":%d,"quarantined":[],"violations":[]}' % n)
    for n in range(1025)
}


def success(
    accepted: int, quarantined: list[VerdictReport], violations: list[VerdictReport]
) -> Answer:
    """The answer that means: everything of this request is on disk."""
    if not quarantined and not violations and (answer := _ALL_GOOD.get(accepted)) is not None:
        return answer
    return Answer(
        200,
        _encode(
            {
                "success": True,
                "accepted": accepted,
                "quarantined": quarantined,
                "violations": violations,
            }
        ),
    )
