"""Real input: a small online shop's events, with the funnels that were published for them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from desirepath_analytics import Funnel, Step, connect

Cli = Callable[..., subprocess.CompletedProcess[str]]

CLOSED = ["catalog", "cart", "payment_done"]
EITHER_PRODUCT = ["catalog", Step.any_of("product1", "product2"), "cart", "payment_done"]


@pytest.fixture(scope="module")
def shop(
    start_server: Any,
    shared_data: Path,
    cli_json: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
    wait_for_rows: Callable[..., None],
) -> Any:
    """The file sent into an empty folder by the command that the README names."""
    server = start_server(tmp_path_factory.mktemp("simple_shop") / "data")
    sent = cli_json(
        *("send", str(shared_data / "simple_shop" / "events.csv"), "--endpoint", server.http)
    )
    assert sent["accepted"] == 32_283
    assert sent["quarantined"] == 0
    wait_for_rows(server.data, events=32_283)
    return server


@pytest.mark.parametrize("within", [None, "all"])
def test_the_published_funnels_hold(shop: Any, within: str | None) -> None:
    """3611, 1924, 653; and 3611, 2010, 1257, 429 with either product between."""
    with connect(str(shop.data)) as warehouse:
        assert people(Funnel(CLOSED, within=within), warehouse) == [3611, 1924, 653]
        assert people(Funnel(EITHER_PRODUCT, within=within), warehouse) == [3611, 2010, 1257, 429]


def people(funnel: Funnel, warehouse: Any) -> list[int]:
    """How many people reached each step."""
    return list(funnel.run(warehouse).frame["people"])


def test_the_folder_answers_without_its_server(
    shop: Any, cli_json: Callable[..., Any], cli: Cli
) -> None:
    """After a clean stop the same command reads the folder itself."""
    assert shop.stop() == 0
    words = [word for step in CLOSED for word in ("--step", step)]
    answer = cli_json("funnel", *words, "--data", str(shop.data))
    assert [step["people"] for step in answer["steps"]] == [3611, 1924, 653]
