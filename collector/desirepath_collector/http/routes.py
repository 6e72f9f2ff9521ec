"""The collector's routes on aiohttp.

The handlers only translate: an aiohttp request into what `Intake` and the others take, their
answer into a response. Bodies are read here with a bound and a deadline, because the library
would wait for a slow body for ever. aiohttp must be run with `auto_decompress=False`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiohttp import hdrs, web

from desirepath.errors import DesirepathError, InputError, PlanError
from desirepath.plan import Plan
from desirepath_collector.http.answers import Answer, Refusal
from desirepath_collector.http.cors import PREFLIGHT, granted
from desirepath_collector.http.head import INTAKE_PATHS, Head
from desirepath_collector.http.intake import Intake, IntakeRequest
from desirepath_collector.http.openapi import document
from desirepath_collector.quarantine import Repairs, Selection
from desirepath_collector.settings import Source
from desirepath_collector.telemetry import CONTENT_TYPE

if TYPE_CHECKING:
    from desirepath_collector.app import Collector

__all__ = ["make_app"]

_JSON: Final = "application/json"
_MAX_PLAN_BYTES: Final = 1 << 20
_MAX_REPLAY_BYTES: Final = 1 << 20
_CLOSE: Final = web.RequestKey("close", bool)

_HOME: Final = """\
Desirepath collector: it takes events in and keeps them in ClickHouse.

POST /v1/batch      events, as Segment's clients send them (/v1/track and the others too)
GET  /openapi.json  this interface, for machines
GET  /v1/plan       the live tracking plan (with a write key or a read token)
GET  /readyz        whether events are taken
GET  /metrics       for Prometheus

`desirepath doctor` tells what is wrong, `desirepath live` shows what arrives.
"""

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _ReplayRequest(msgspec.Struct, forbid_unknown_fields=True):
    selection: Selection = Selection()
    repairs: Repairs = Repairs()
    by: str = ""
    dry_run: bool = False


class Routes:
    """The handlers, bound to one collector."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    async def intake(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/track and the others."""
        collector = self._collector
        received_s = time.time()
        headers = request.headers
        body = await self._body(request, collector.settings.max_body_bytes)
        head = Head(
            request.path,
            INTAKE_PATHS[request.path],
            headers.get(hdrs.CONTENT_TYPE, ""),
            headers.get(hdrs.CONTENT_ENCODING, "").lower(),
            headers.get(hdrs.AUTHORIZATION, ""),
            headers.get("X-Write-Key", ""),
            headers.get(hdrs.ORIGIN, ""),
            headers.get(hdrs.X_FORWARDED_FOR, ""),
        )
        answer = await collector.intake.take(
            IntakeRequest(head, body, request.remote or "", received_s)
        )
        return _response(answer)

    async def client_metrics(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/m: what analytics-next measures about itself; taken and forgotten."""
        await self._body(request, 64 * 1024)
        return _response(Answer(200, b'{"success":true}'))

    async def client_settings(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/projects/KEY/settings: where analytics-next sends to."""
        key = request.match_info["key"]
        self._collector.intake.source_of("", key)
        return _json(_segment_settings(key, request.host, _scheme(request)))

    async def source_config(self, request: web.Request) -> web.StreamResponse:
        """GET /sourceConfig: what RudderStack's browser SDK asks before it sends."""
        source = self._collector.intake.source_of(
            request.headers.get(hdrs.AUTHORIZATION, ""), request.query.get("writeKey", "")
        )
        return _json(_rudder_config(source))

    async def get_plan(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/plan: the live plan's YAML, for whoever may write or read."""
        self._source_or_reader(request)
        plan = self._collector.plans.plan
        if plan is None:
            raise Refusal("not_found", "no plan is live", hint="desirepath plan publish FILE")
        tag = f'"{plan.digest}"'
        headers = {
            hdrs.ETAG: tag,
            "X-Plan-Name": plan.name,
            "X-Plan-Version": str(plan.version),
        }
        if request.headers.get(hdrs.IF_NONE_MATCH) == tag:
            return web.Response(status=304, headers=headers)
        return web.Response(body=plan.source, content_type="application/yaml", headers=headers)

    async def put_plan(self, request: web.Request) -> web.StreamResponse:
        """PUT /v1/plan: validated, stored, live; the old one stays if the new one has a mistake."""
        source = self._collector.intake.source_of(
            request.headers.get(hdrs.AUTHORIZATION, ""), request.headers.get("X-Write-Key", "")
        )
        if not source.publish:
            raise Refusal(
                "forbidden",
                f"the key of source {source.name!r} may not publish plans",
                hint=f"set publish = true in [sources.{source.name}]",
            )
        body = await self._body(request, _MAX_PLAN_BYTES)
        try:
            text = body.decode()
        except UnicodeDecodeError as error:
            raise Refusal("bad_plan", f"the plan is not UTF-8: {error}") from None
        try:
            plan = Plan.parse(text, path="the published plan")
            await self._collector.publish(plan)
        except PlanError as error:
            raise Refusal("bad_plan", str(error), hint=error.hint) from None
        return _json(
            {
                "success": True,
                "plan": plan.name,
                "version": str(plan.version),
                "digest": plan.digest,
            }
        )

    async def replay(self, request: web.Request) -> web.StreamResponse:
        """POST /api/quarantine/replay: for whoever can read the data folder's server file."""
        if not self._collector.is_owner(request.headers.get(hdrs.AUTHORIZATION, "")):
            raise Refusal("unauthorized", "replaying needs the token of data/server.json")
        body = await self._body(request, _MAX_REPLAY_BYTES)
        try:
            asked = msgspec.json.decode(body, type=_ReplayRequest)
        except (msgspec.DecodeError, ValueError) as error:
            raise Refusal("malformed", str(error)) from None
        try:
            done = await self._collector.replay(
                asked.selection, asked.repairs, by=asked.by, dry_run=asked.dry_run
            )
        except InputError as error:
            raise Refusal("bad_request", error.message, hint=error.hint) from None
        return _json(done)

    async def live(self, request: web.Request) -> web.StreamResponse:
        """GET /api/live: server-sent events of what arrives now, for readers."""
        token = request.query.get("token")
        authorization = request.headers.get(hdrs.AUTHORIZATION) or f"Bearer {token}"
        if self._collector.reader(authorization) is None:
            raise Refusal(
                "unauthorized", "a read token is needed", hint="Authorization: Bearer ..."
            )
        response = web.StreamResponse(
            headers={
                hdrs.CONTENT_TYPE: "text/event-stream",
                hdrs.CACHE_CONTROL: "no-cache",
                "X-Accel-Buffering": "no",
            }
        )
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            async for piece in self._collector.intake.live.stream(request.query.get("event")):
                await response.write(piece)
        return response

    async def home(self, request: web.Request) -> web.StreamResponse:
        """GET /: what this is, for whoever opens the address in a browser."""
        del request
        return web.Response(text=_HOME)

    async def openapi(self, request: web.Request) -> web.StreamResponse:
        """GET /openapi.json: this interface, for machines."""
        del request
        return _json(document(version("desirepath")))

    async def healthz(self, request: web.Request) -> web.StreamResponse:
        """GET /healthz: the process answers."""
        del request
        return web.Response(text="ok\n")

    async def readyz(self, request: web.Request) -> web.StreamResponse:
        """GET /readyz: events would be taken; with what is wrong, if anything is."""
        del request
        ready, detail = self._collector.readiness()
        return _json(detail, status=200 if ready else 503)

    async def metrics(self, request: web.Request) -> web.StreamResponse:
        """GET /metrics, in Prometheus' text form."""
        del request
        response = web.Response(body=self._collector.telemetry.text().encode())
        response.headers[hdrs.CONTENT_TYPE] = CONTENT_TYPE
        return response

    async def _body(self, request: web.Request, max_bytes: int) -> bytes:
        collector = self._collector
        timeout_s = collector.settings.body_timeout_s
        return await read_body(request, collector.intake, max_bytes, timeout_s)

    def _source_or_reader(self, request: web.Request) -> Source | str:
        authorization = request.headers.get(hdrs.AUTHORIZATION, "")
        reader = self._collector.reader(authorization)
        if reader is not None:
            return reader
        return self._collector.intake.source_of(
            authorization, request.headers.get("X-Write-Key", "")
        )


def make_app(collector: Collector) -> web.Application:
    """The aiohttp application of one collector."""
    routes = Routes(collector)
    app = web.Application(middlewares=[_cors(collector), _refusals])
    for path in INTAKE_PATHS:
        app.router.add_post(path, routes.intake)
    app.router.add_post("/v1/m", routes.client_metrics)
    app.router.add_get("/v1/projects/{key}/settings", routes.client_settings)
    for path in ("/sourceConfig", "/sourceConfig/"):
        app.router.add_get(path, routes.source_config)
    app.router.add_get("/v1/plan", routes.get_plan)
    app.router.add_put("/v1/plan", routes.put_plan)
    app.router.add_post("/api/quarantine/replay", routes.replay)
    app.router.add_get("/api/live", routes.live)
    app.router.add_get("/", routes.home)
    app.router.add_get("/openapi.json", routes.openapi)
    app.router.add_get("/healthz", routes.healthz)
    app.router.add_get("/readyz", routes.readyz)
    app.router.add_get("/metrics", routes.metrics)
    return app


async def read_body(
    request: web.Request, intake: Intake, max_bytes: int, timeout_s: float
) -> bytes:
    """A request's whole body, as it is on the wire.

    Raises
    ------
    Refusal
        `too_large` above `max_bytes`, before reading where the length is announced;
        `timeout` if it is not whole by then; `busy` if too much is being received.
    """
    announced = request.content_length
    too_large = Refusal("too_large", f"the body is over {max_bytes} bytes")
    if announced is not None and announced > max_bytes:
        raise _closing(request, too_large)
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(timeout_s):
            async for chunk in request.content.iter_any():
                size += len(chunk)
                intake.hold(len(chunk))
                if size > max_bytes:
                    raise too_large
                chunks.append(chunk)
    except TimeoutError:
        late = Refusal("timeout", f"the body was not whole after {timeout_s:g} s")
        raise _closing(request, late) from None
    except Refusal as refusal:
        raise _closing(request, refusal) from None
    finally:
        intake.release(size)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _closing(request: web.Request, refusal: Refusal) -> Refusal:
    # What is left of the body will not be read, so the connection cannot be used again.
    request[_CLOSE] = True
    return refusal


@web.middleware
async def _refusals(request: web.Request, handler: _Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Refusal as refusal:
        response = _response(refusal.answer())
        if request.get(_CLOSE, False):
            response.force_close()
        return response
    except web.HTTPNotFound:
        return _response(Refusal("not_found", f"there is nothing at {request.path}").answer())
    except web.HTTPMethodNotAllowed as error:
        response = _response(
            Refusal("method_not_allowed", f"{request.path} does not take {request.method}").answer()
        )
        response.headers[hdrs.ALLOW] = error.headers.get(hdrs.ALLOW, "")
        return response
    except DesirepathError as error:
        return _response(Refusal("internal", error.message, hint=error.hint).answer())


def _cors(collector: Collector) -> Any:
    @web.middleware
    async def cors(request: web.Request, handler: _Handler) -> web.StreamResponse:
        if request.method == hdrs.METH_OPTIONS:
            response: web.StreamResponse = web.Response(status=204)
        else:
            response = await handler(request)
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is not None and collector.intake.origins.allow(origin):
            response.headers.update(granted(origin))
            if request.method == hdrs.METH_OPTIONS:
                response.headers.update(PREFLIGHT)
        return response

    return cors


def _response(answer: Answer) -> web.Response:
    return web.Response(
        status=answer.status, body=answer.body, content_type=_JSON, headers=dict(answer.headers)
    )


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(value), content_type=_JSON)


def _scheme(request: web.Request) -> str:
    return request.headers.get("X-Forwarded-Proto", request.scheme).partition(",")[0].strip()


def _segment_settings(key: str, host: str, scheme: str) -> dict[str, Any]:
    """What @segment/analytics-next asks its CDN for: only this collector is switched on."""
    everything: dict[str, Any] = {"__default": {"enabled": True, "integrations": {}}}
    return {
        "integrations": {
            "Segment.io": {
                "apiKey": key,
                "apiHost": f"{host}/v1",
                "protocol": scheme,
                "unbundledIntegrations": [],
                "addBundledMetadata": True,
                "maybeBundledConfigIds": {},
            }
        },
        "plan": {"track": everything, "identify": everything, "group": everything},
        "edgeFunction": {},
        "analyticsNextEnabled": True,
        "middlewareSettings": {},
        "enabledMiddleware": {},
        "metrics": {"sampleRate": 0},
        "legacyVideoPluginsEnabled": False,
        "remotePlugins": [],
    }


def _rudder_config(source: Source) -> dict[str, Any]:
    """A source without destinations, which reports nothing about itself to anybody."""
    return {
        "source": {
            "id": source.name,
            "name": source.name,
            "writeKey": source.write_key,
            "enabled": True,
            "workspaceId": "desirepath",
            "config": {
                "statsCollection": {"errors": {"enabled": False}, "metrics": {"enabled": False}}
            },
            "destinations": [],
            "connections": [],
        },
        "updatedAt": "",
    }
