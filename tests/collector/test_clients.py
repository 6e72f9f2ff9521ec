"""The clients that people already have, unchanged, against a real collector."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import warnings
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.collector.conftest import Start
from tests.collector.kit import MemoryStore, until

CALLS = ("identify", "track", "page", "screen", "group", "alias")


def use(client: Any) -> None:
    """Every call of the Segment specification, through a Python client."""
    client.identify("user-1", {"email": "u1@example.com"})
    client.track("user-1", "Order Completed", {"total": 42.5, "items": [1, {"a": None}], "é": "ü"})
    client.page("user-1", "Docs", "Index", {"url": "https://example.com/docs"})
    client.screen("user-1", "Settings", "Brightness", {})
    client.group("user-1", "group-9", {"name": "Initech"})
    client.alias("anon-1", "user-1")


def judge(store: MemoryStore, calls: tuple[str, ...] = CALLS) -> None:
    """What must have arrived."""
    rows = {row.kind: row for row in store.rows}
    assert store.refused == []
    assert sorted(row.kind for row in store.rows) == sorted(calls)
    assert {row.user_id for row in rows.values()} == {"user-1"}
    total = json.loads(bytes(rows["track"].properties))["total"]
    assert (rows["track"].event, total) == ("Order Completed", 42.5)
    if "page" in rows:
        assert json.loads(bytes(rows["page"].properties))["name"] == "Index"
    if "group" in rows:
        assert rows["group"].group_id == "group-9"
    if "alias" in rows:
        assert rows["alias"].previous_id == "anon-1"


@pytest.mark.parametrize("gzip", [False, True])
async def test_segment_analytics_python(gzip: bool, start: Start, store: MemoryStore) -> None:
    collector = await start()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = importlib.import_module("segment.analytics.client")
    client = module.Client("dev", host=collector.url, gzip=gzip, upload_interval=0.05)
    await _in_thread(lambda: (use(client), client.flush(), client.shutdown()))
    await until(lambda: len(store.rows) == 6)
    judge(store)


async def test_rudder_sdk_python(start: Start, store: MemoryStore) -> None:
    collector = await start()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = importlib.import_module("rudderstack.analytics.client")
    client = module.Client("dev", host=collector.url, upload_interval=0.05)
    await _in_thread(lambda: (use(client), client.flush(), client.shutdown()))
    await until(lambda: len(store.rows) == 6)
    judge(store)


async def _in_thread(work: Any) -> None:
    import asyncio

    await asyncio.get_running_loop().run_in_executor(None, work)


PACKAGES = ("@segment/analytics-node@2", "@segment/analytics-next@1", "esbuild@0.25")


@pytest.fixture(scope="session")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the JavaScript clients; kept where DESIREPATH_TEST_NODE says, if it says."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("npm and node are needed for the JavaScript clients")
    kept = os.environ.get("DESIREPATH_TEST_NODE")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("node")
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "node_modules").is_dir():
        (folder / "package.json").write_text("{}")
        done = subprocess.run(
            ["npm", "install", "--silent", "--no-audit", "--no-fund", *PACKAGES],
            cwd=folder, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        if done.returncode:
            pytest.skip(f"the JavaScript clients cannot be installed: {done.stderr[-200:]}")
    return folder


NODE = """
const { Analytics } = require("@segment/analytics-node");
const analytics = new Analytics({ writeKey: "dev", host: process.argv[2], flushAt: 3 });
const userId = "user-1";
analytics.identify({ userId, traits: { email: "u1@example.com" } });
analytics.track({ userId, event: "Order Completed", properties: { total: 42.5 } });
analytics.page({ userId, category: "Docs", name: "Index", properties: { url: "https://x.y" } });
analytics.screen({ userId, name: "Brightness" });
analytics.group({ userId, groupId: "group-9", traits: { name: "Initech" } });
analytics.alias({ userId, previousId: "anon-1" });
analytics.closeAndFlush({ timeout: 10000 });
"""


async def test_segment_analytics_node(start: Start, store: MemoryStore, node_modules: Path) -> None:
    collector = await start()
    (node_modules / "send.js").write_text(NODE)
    words = ["node", "send.js", collector.url]
    await _in_thread(lambda: subprocess.run(words, cwd=node_modules, timeout=60, check=True))
    await until(lambda: len(store.rows) == 6)
    judge(store)


BROWSER = """
import { AnalyticsBrowser } from "@segment/analytics-next";
const settings = { writeKey: "dev", cdnURL: COLLECTOR };
const analytics = AnalyticsBrowser.load(settings, { disableClientPersistence: true });
await analytics.identify("user-1", { email: "u1@example.com" });
await analytics.track("Order Completed", { total: 42.5 });
await analytics.page("Docs", "Index");
await analytics.group("group-9", { name: "Initech" });
document.title = "sent";
"""


def _chromium() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    pytest.skip("Chromium is needed for the browser's client")


async def test_segment_analytics_next_in_chromium(
    start: Start, store: MemoryStore, node_modules: Path, tmp_path: Path
) -> None:
    """The page is of another origin: settings, preflights and text/plain posts, all real."""
    chromium = _chromium()
    collector = await start()
    (node_modules / "page.mjs").write_text(BROWSER.replace("COLLECTOR", json.dumps(collector.url)))
    bundle = ["npx", "esbuild", "page.mjs", "--bundle", "--format=esm", "--outfile=page.out.js"]
    await _in_thread(
        lambda: subprocess.run(
            [*bundle, "--log-level=error"], cwd=node_modules, timeout=60, check=True
        )
    )
    script = (node_modules / "page.out.js").read_text()
    async with _site(script) as url:
        browser = subprocess.Popen(
            [chromium, "--headless=new", "--no-sandbox", "--disable-gpu",
             "--disable-dev-shm-usage", f"--user-data-dir={tmp_path / 'profile'}", url],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            await until(lambda: len(store.rows) >= 4, timeout_s=60)
        finally:
            browser.kill()
            browser.wait(20)
    judge(store, ("identify", "track", "page", "group"))
    track = next(row for row in store.rows if row.kind == "track")
    context = json.loads(bytes(track.context))
    assert context["page"]["url"].startswith(url)
    assert context["campaign"] == {"source": "news"}
    assert context["bot"] is True  # headless


class _site:  # noqa: N801 (a context manager)
    """A web site with one page, on a port of its own."""

    def __init__(self, script: str) -> None:
        self._script = script

    async def __aenter__(self) -> str:
        app = web.Application()
        page = '<!doctype html><title>x</title><script type="module" src="/page.js"></script>'
        app.router.add_get("/", self._answer(page, "text/html"))
        app.router.add_get("/page.js", self._answer(self._script, "text/javascript"))
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}/?utm_source=news"

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    @staticmethod
    def _answer(text: str, kind: str) -> Any:
        async def handler(request: web.Request) -> web.Response:
            return web.Response(text=text, content_type=kind)

        return handler
