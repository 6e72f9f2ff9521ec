"""One batch and its answer."""

from __future__ import annotations

import json
import time
from email.utils import formatdate
from typing import Any

import pytest
from capturing import Capture, Handler

from desirepath.errors import SettingsError
from desirepath.transport import Outcome, Transport


@pytest.fixture
def post(server: Capture) -> Any:
    """Post one event to a server that answers as told."""
    transports = []

    def run(status: int, body: Any = None, path: str = "", **headers: str) -> Any:
        server.fault = lambda handler, events: handler.answer(status, body, **headers) or True
        transport = Transport(server.url + path, "key", timeout_s=2)
        transports.append(transport)
        return transport.post([b'{"messageId":"m"}'])

    yield run
    for transport in transports:
        transport.close()


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Outcome.DELIVERED),
        (301, Outcome.REFUSED),
        (400, Outcome.MALFORMED),
        (401, Outcome.REFUSED),
        (404, Outcome.REFUSED),
        (408, Outcome.RETRY),
        (413, Outcome.TOO_LARGE),
        (415, Outcome.REFUSED),
        (422, Outcome.MALFORMED),
        (429, Outcome.RETRY),
        (500, Outcome.RETRY),
        (503, Outcome.RETRY),
    ],
)
def test_what_each_status_means(post: Any, status: int, outcome: Outcome) -> None:
    assert post(status, {"success": True}).outcome is outcome


def test_the_collectors_reason_is_passed_on(post: Any) -> None:
    answer = post(503, {"success": False, "error": {"code": "full", "message": "spool is full"}})
    assert answer.reason == "HTTP 503: spool is full"
    assert post(503, ["no object"]).reason == "HTTP 503"


def test_retry_after_in_seconds_as_a_date_and_as_rubbish(post: Any) -> None:
    assert post(429, {}, Retry_After="7").retry_after_s == 7.0
    date = formatdate(time.time() + 30, usegmt=True)
    assert 25 < post(503, {}, Retry_After=date).retry_after_s <= 30
    assert post(429, {}, Retry_After="soon").retry_after_s is None
    assert post(429, {}, Retry_After="-5").retry_after_s == 0.0


def test_counts_of_the_answer(post: Any) -> None:
    violation = {"code": "type", "pointer": "/properties/a", "expected": "", "found": ""}
    report = {"index": 0, "messageId": "m", "violations": [violation]}
    body = {"success": True, "accepted": 0, "quarantined": [report], "violations": [report]}
    answer = post(200, body)
    assert (answer.accepted, len(answer.quarantined), len(answer.reserved)) == (0, 1, 1)
    assert answer.quarantined[0].message_id == "m"
    assert post(200, {"success": True}).accepted == 1, "Segment's own servers give no counts"


def test_the_collector_may_live_below_a_path(server: Capture) -> None:
    seen: list[str] = []

    def fault(handler: Handler, events: Any) -> bool:
        seen.append(handler.path)
        return False

    server.fault = fault
    transport = Transport(server.url.replace("//", "//user:secret@") + "/in/", "key")
    assert transport.post([b"{}"]).outcome is Outcome.DELIVERED
    transport.close()
    assert seen == ["/in/v1/batch"]


@pytest.mark.parametrize("endpoint", ["", "collector:8000", "ftp://x", "http://"])
def test_an_endpoint_that_is_none(endpoint: str) -> None:
    with pytest.raises(SettingsError, match="not an http or https URL"):
        Transport(endpoint, "key")


def test_the_body_names_when_it_was_sent(server: Capture) -> None:
    bodies: list[Any] = []
    original = Handler.do_POST

    def keep(handler: Handler) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        bodies.append(json.loads(body))
        handler.answer(200, {"success": True})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Handler, "do_POST", keep)
        for sent_at in (True, False):
            transport = Transport(server.url, "key", sent_at=sent_at)
            assert transport.post([b'{"a":1}', b"{}"]).outcome is Outcome.DELIVERED
            transport.close()
    assert [set(body) for body in bodies] == [{"batch", "sentAt"}, {"batch"}]
    assert bodies[0]["batch"] == [{"a": 1}, {}]
    assert original is Handler.do_POST
