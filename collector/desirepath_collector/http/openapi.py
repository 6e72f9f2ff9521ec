"""The OpenAPI document of the intake, made of the same tables that answer.

What the document says may be sent, the collector takes; every status it can answer with is told.
"""

from __future__ import annotations

from typing import Any, Final

from desirepath_collector.http.answers import ERRORS
from desirepath_collector.http.head import INTAKE_PATHS

__all__ = ["document"]

_TEXT: Final = {"type": "string"}
_TIME: Final = {"type": "string", "format": "date-time"}
_OBJECT: Final = {"type": "object"}
_ID: Final = {"type": ["string", "integer", "null"]}

_CALL: Final[dict[str, Any]] = {
    "type": "object",
    "description": "One call of the Segment specification.",
    "properties": {
        "messageId": _TEXT,
        "userId": _ID,
        "anonymousId": _ID,
        "previousId": _ID,
        "groupId": _ID,
        "event": _TEXT,
        "name": _TEXT,
        "category": _TEXT,
        "properties": _OBJECT,
        "traits": _OBJECT,
        "context": _OBJECT,
        "timestamp": _TIME,
        "originalTimestamp": _TIME,
        "sentAt": _TIME,
        "writeKey": _TEXT,
    },
}

_VERDICTS: Final[dict[str, Any]] = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["index", "messageId", "violations"],
        "properties": {
            "index": {"type": "integer", "minimum": 0},
            "messageId": _TEXT,
            "violations": {"type": "array", "items": {"$ref": "#/components/schemas/Violation"}},
        },
    },
}

_SCHEMAS: Final[dict[str, Any]] = {
    "Call": _CALL,
    "BatchCall": {
        **_CALL,
        "properties": {
            **_CALL["properties"],
            "type": {"enum": ["track", "identify", "page", "screen", "group", "alias"]},
        },
    },
    "Batch": {
        "type": "object",
        "required": ["batch"],
        "properties": {
            "batch": {"type": "array", "items": {"$ref": "#/components/schemas/BatchCall"}},
            "sentAt": _TIME,
            "writeKey": _TEXT,
            "context": _OBJECT,
        },
    },
    "Violation": {
        "type": "object",
        "required": ["code", "pointer", "expected", "found"],
        "properties": {
            "code": _TEXT,
            "pointer": {"type": "string", "description": "JSON pointer into the event."},
            "expected": _TEXT,
            "found": _TEXT,
        },
    },
    "Verdicts": {
        "type": "object",
        "description": "Everything that is named here is on disk.",
        "required": ["success", "accepted", "quarantined", "violations"],
        "properties": {
            "success": {"const": True},
            "accepted": {"type": "integer", "minimum": 0},
            "quarantined": _VERDICTS,
            "violations": _VERDICTS,
        },
    },
    "Error": {
        "type": "object",
        "required": ["success", "error"],
        "properties": {
            "success": {"const": False},
            "error": {
                "type": "object",
                "required": ["code", "message"],
                "properties": {
                    "code": {"enum": sorted(ERRORS)},
                    "message": _TEXT,
                    "pointer": _TEXT,
                    "hint": _TEXT,
                },
            },
        },
    },
}

_INTAKE_ERRORS: Final = (400, 401, 403, 408, 413, 415, 429, 431, 500, 503)


def document(version: str) -> dict[str, Any]:
    """The OpenAPI 3.1 document of a collector of this version."""
    paths: dict[str, Any] = {}
    for path, kind in INTAKE_PATHS.items():
        schema = {"$ref": f"#/components/schemas/{'Batch' if kind is None else 'Call'}"}
        paths[path] = {
            "post": {
                "operationId": f"post_{path.removeprefix('/v1/')}",
                "summary": f"Take {'a batch of calls' if kind is None else f'one {kind} call'}.",
                "security": [{"writeKey": []}, {"writeKeyHeader": []}, {}],
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {"schema": schema},
                        "text/plain": {"schema": schema},
                    },
                },
                "responses": {
                    "200": _answer("The verdicts.", "Verdicts"),
                    **_errors(_INTAKE_ERRORS),
                },
            }
        }
    paths["/healthz"] = {"get": _plain("health", "The process answers.")}
    paths["/metrics"] = {"get": _plain("metrics", "Prometheus metrics.")}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Desirepath collector", "version": version},
        "paths": paths,
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {
                "writeKey": {"type": "http", "scheme": "basic"},
                "writeKeyHeader": {"type": "apiKey", "in": "header", "name": "X-Write-Key"},
            },
        },
    }


def _answer(description: str, schema: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": description, "content": content}


def _errors(statuses: tuple[int, ...]) -> dict[str, Any]:
    found = {}
    for status in statuses:
        kinds = {code: kind for code, kind in ERRORS.items() if kind.status == status}
        text = " ".join(f"`{code}`: {kind.meaning}" for code, kind in kinds.items())
        found[str(status)] = _answer(text, "Error")
    return found


def _plain(operation: str, description: str) -> dict[str, Any]:
    content = {"text/plain": {"schema": _TEXT}}
    answer = {"description": description, "content": content}
    return {"operationId": operation, "summary": description, "responses": {"200": answer}}
