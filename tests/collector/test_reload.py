"""Plan and settings change under a running collector; what is wrong changes nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from tests.collector.conftest import Start
from tests.collector.kit import PLAN, MemoryStore, batch, codes, post, track, until

from desirepath.errors import SettingsError
from desirepath_collector import logs, reload
from desirepath_collector.app import Collector
from desirepath_collector.reload import Reloader
from desirepath_collector.settings import Secret, Settings, Source, load_settings


def reader(collector: Collector, **changes: Any) -> Callable[[], Settings]:
    return lambda: msgspec.structs.replace(collector.settings, **changes)


async def test_a_changed_plan_file_is_taken_over(
    start: Start,
    store: MemoryStore,
    http: aiohttp.ClientSession,
    plan_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(reload, "_LOOK_S", 0.02)
    collector = await start(plan=str(plan_file))
    watching = asyncio.create_task(Reloader(collector, reader(collector)).run())
    call = batch(track("Unheard", {"a": 1}))
    assert (await post(http, collector, call))[1]["accepted"] == 0
    plan_file.write_text("plan: [broken")
    await until(lambda: "refused" in caplog.text)
    assert (await post(http, collector, call))[1]["accepted"] == 0
    assert collector.plans.live.version == "1.0.0"
    wider = PLAN.replace("1.0.0", "1.1.0") + "  Unheard: {properties: {a: integer}}\n"
    plan_file.write_text(wider)
    await until(lambda: collector.plans.live.version == "1.1.0")
    assert (await post(http, collector, call))[1]["accepted"] == 1
    assert store.published_plans[-1].version == "1.1.0"
    watching.cancel()


async def test_keys_and_limits_change_at_once(
    start: Start, http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    collector = await start(sources={"web": {"write_key": "k-1"}})
    assert (await post(http, collector, batch(track(), track()), key="k-1"))[0] == 200
    changed = reader(
        collector, sources={"web": Source(write_key="k-2")}, max_batch_events=1, port=1
    )
    assert await Reloader(collector, changed).reload()
    assert (await post(http, collector, batch(track()), key="k-1"))[0] == 401
    assert (await post(http, collector, batch(track()), key="k-2"))[0] == 200
    assert (await post(http, collector, batch(track(), track()), key="k-2"))[0] == 413
    assert "`port` needs a restart" in caplog.text
    assert "k-2" not in caplog.text


async def test_wrong_settings_are_refused(start: Start, http: aiohttp.ClientSession) -> None:
    collector = await start()

    def wrong() -> Settings:
        raise SettingsError("settings: nonsense")

    assert not await Reloader(collector, wrong).reload()
    assert (await post(http, collector, batch(track())))[0] == 200


async def test_a_source_may_have_a_plan_of_its_own(
    start: Start, http: aiohttp.ClientSession, plan_file: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("plan: own\nversion: 3.0.0\nevents: {Mine: {}}\n")
    collector = await start(
        plan=str(plan_file),
        sources={
            "web": {"write_key": "k-1"}, "tv": {"write_key": "k-2", "plan": str(own)},
        },
    )  # fmt: skip
    for key, event, accepted in (
        ("k-1", "Seen", 1), ("k-1", "Mine", 0), ("k-2", "Seen", 0), ("k-2", "Mine", 1),
    ):  # fmt: skip
        _, answer = await post(http, collector, batch(track(event)), key=key)
        assert answer["accepted"] == accepted, (key, event)


def test_settings_come_in_order(tmp_path: Path) -> None:
    file = tmp_path / "desirepath.toml"
    file.write_text(
        "port = 1\nmax_depth = 7\nlog = 'json'\n[sources.web]\nwrite_key = 'k'\nip = 'drop'\n"
        "[readers]\nann = 'secret-token'\n"
    )
    environ = {"DESIREPATH_PORT": "2", "DESIREPATH_LOG": "text", "HOME": "x"}
    found = load_settings({"port": 3, "host": None}, environ=environ, file=file)
    assert (found.port, found.log, found.max_depth, found.host) == (3, "text", 7, "127.0.0.1")
    assert found.effective_sources()[0].name == "web"
    assert found.effective_sources()[0].ip == "drop"
    assert "secret-token" not in repr(found) + repr(found.effective_readers())
    assert "'k'" not in repr(found.sources)
    found = load_settings(environ={"DESIREPATH_WRITE_KEYS": "a=1,b=2"}, file=file)
    assert [source.write_key for source in found.effective_sources()] == ["1", "2"]


@pytest.mark.parametrize(
    ("text", "environ", "said"),
    [
        ("prot = 1", {}, "did you mean `port`"),
        ("port = 'x'", {}, "port"),
        ("port = 70000", {}, "port"),
        ("[sources.a]\nwrite_key = ''", {}, "write_key"),
        ("[sources.a]\nwrite_key = 'k'\nrate = 1", {}, "rate"),
        ("[sources.a]\nwrite_key = 'k'\n[sources.b]\nwrite_key = 'k'", {}, "same write_key"),
        ("port = ", {}, "desirepath.toml"),
        ("", {"DESIREPATH_MAX_BODY_BYTE": "1"}, "did you mean `max_body_bytes`"),
        ("", {"DESIREPATH_WRITE_KEYS": "a"}, "name=secret"),
        ("", {"DESIREPATH_HOST": "0.0.0.0"}, "development key"),
        ("", {"DESIREPATH_CLICKHOUSE_HOST": "0.0.0.0"}, "development key"),
    ],
)
def test_mistakes_in_settings(
    text: str, environ: dict[str, str], said: str, tmp_path: Path
) -> None:
    file = tmp_path / "desirepath.toml"
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_settings(environ=environ, file=file)
    assert said in f"{caught.value.message} {caught.value.hint}"


def test_the_trackers_variables_are_none_of_ours() -> None:
    load_settings(environ={"DESIREPATH_ENDPOINT": "x", "DESIREPATH_WRITE_KEY": "y"})


def test_log_lines(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        logs.configure_logs("json")
        logging.getLogger("desirepath.test").info("loaded %d", 3, extra={"rows": 3})
        line = msgspec.json.decode(capsys.readouterr().err)
        assert (line["message"], line["rows"], line["level"]) == ("loaded 3", 3, "info")
        logs.configure_logs("text")
        logging.getLogger("desirepath.test").warning("waits", extra={"seconds": 1.5})
        assert capsys.readouterr().err.endswith(" warning waits  seconds=1.5\n")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.getLogger("desirepath").setLevel(logging.NOTSET)


def test_a_secret_does_not_show() -> None:
    assert repr(Secret("x")) == "'***'"
    assert codes([]) == set()
