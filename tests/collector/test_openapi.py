"""The published document and the collector agree."""

from __future__ import annotations

import random
from typing import Any

import aiohttp
import jsonschema
import pytest
from tests.collector.conftest import Start
from tests.collector.kit import MemoryStore, basic

from desirepath_collector.http.answers import ERRORS
from desirepath_collector.http.head import INTAKE_PATHS
from desirepath_collector.http.openapi import document

DOCUMENT = document("0")


def validator(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(
        {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    )


def test_every_address_and_status_is_documented() -> None:
    for path in INTAKE_PATHS:
        statuses = {int(status) for status in DOCUMENT["paths"][path]["post"]["responses"]}
        assert {200, 400, 401, 403, 408, 413, 415, 429, 503} <= statuses
    for name in DOCUMENT["components"]["schemas"]:
        jsonschema.Draft202012Validator.check_schema(validator(name).schema)
    assert all(kind.status >= 400 for kind in ERRORS.values())


async def test_it_is_published(start: Start, http: aiohttp.ClientSession) -> None:
    collector = await start()
    async with http.get(collector.url + "/openapi.json") as answer:
        assert (await answer.json())["openapi"] == "3.1.0"


async def test_the_root_says_what_this_is(start: Start, http: aiohttp.ClientSession) -> None:
    collector = await start()
    async with http.get(collector.url + "/") as answer:
        text = await answer.text()
        assert (answer.status, answer.content_type) == (200, "text/plain")
    # Every address it names is there.
    for path in [word for word in text.split() if word.startswith("/") and "(" not in word]:
        async with http.get(collector.url + path) as answer:
            assert answer.status != 404, path


def anything(pick: random.Random, depth: int = 0) -> Any:
    kind = pick.randrange(9 if depth < 3 else 7)
    if kind == 0:
        return None
    if kind == 1:
        return pick.choice([True, False])
    if kind == 2:
        return pick.choice([0, -1, 2**63, 10**30, 1.5, 1e308])
    if kind == 3:
        return pick.choice(["", "x", "null", "\x00", "é", "2026-01-01T00:00:00Z", "y" * 600])
    if kind == 7:
        return [anything(pick, depth + 1) for _ in range(pick.randrange(4))]
    if kind == 8:
        return {pick.choice("abc"): anything(pick, depth + 1) for _ in range(pick.randrange(4))}
    return pick.choice(["track", "identify", "u1", "Seen"])


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_is_sent_the_answer_is_as_documented(
    seed: int, start: Start, store: MemoryStore, http: aiohttp.ClientSession
) -> None:
    """Bodies of known keys with any values, sent to every address."""
    collector = await start()
    pick = random.Random(seed)
    keys = [*DOCUMENT["components"]["schemas"]["BatchCall"]["properties"], "unheard of"]
    checks = {200: validator("Verdicts"), 0: validator("Error")}
    for path, kind in INTAKE_PATHS.items():
        for _ in range(12):

            def call() -> Any:
                if pick.random() < 0.1:
                    return anything(pick)
                return {key: anything(pick) for key in keys if pick.random() < 0.5}

            body = call()
            if kind is None:
                body = {"batch": [call() for _ in range(pick.randrange(5))]}
            async with http.post(collector.url + path, json=body, headers=basic()) as answer:
                found = await answer.json()
                assert answer.status in (200, 400), (body, found)
                checks.get(answer.status, checks[0]).validate(found)
                if answer.status == 200 and kind is None:
                    assert found["accepted"] + len(found["quarantined"]) == len(body["batch"])
