"""docs/collector.md names everything that can be set, asked, answered and measured."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.collector.conftest import Start

from desirepath_collector.http.answers import ERRORS
from desirepath_collector.settings import Settings, Source
from desirepath_collector.telemetry import Counter, Histogram, Telemetry

PAGE = (Path(__file__).parents[2] / "docs" / "collector.md").read_text()


@pytest.mark.parametrize("name", [*Settings.__struct_fields__, *Source.__struct_fields__])
def test_every_setting(name: str) -> None:
    assert f"`{name}`" in PAGE or f"[{name}" in PAGE


@pytest.mark.parametrize("code", ERRORS)
def test_every_error(code: str) -> None:
    kind = ERRORS[code]
    assert f"| `{code}` | {kind.status} | {'yes' if kind.retryable else 'no'}" in PAGE
    assert kind.meaning in PAGE


async def test_every_metric_and_route(start: Start) -> None:
    collector = await start()
    for metric in vars(Telemetry()).values():
        if isinstance(metric, Counter | Histogram):
            assert f"`{metric.name}" in PAGE
    for gauge in collector.telemetry.gauges:
        assert f"`{gauge.name}`" in PAGE
    assert "desirepath_spool_bytes" in collector.telemetry.text()
