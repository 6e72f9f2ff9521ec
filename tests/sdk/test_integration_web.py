"""What all web integrations share: the signed cookie, sessions, consent, what is a page view."""

from __future__ import annotations

import base64
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.sdk.web_kit import BROWSER, SECRET, Seen, seen

from desirepath import Plan
from desirepath.context import CURRENT
from desirepath.errors import SettingsError
from desirepath.integrations import Request, set_user
from desirepath.integrations._request import Cookie
from desirepath.integrations._visitor import Signer, Visitor, cookies, new_visitor
from desirepath.integrations._web import Web

PLAN = "tracking_plans/shop.yaml"


@pytest.fixture
def shop() -> Iterator[Seen]:
    with seen() as recorder:
        yield recorder


def request(
    path: str = "/", query: str = "", method: str = "GET", scheme: str = "https", **headers: str
) -> Request:
    """A browser's request; header names with underscores."""
    names = {name.lower(): value for name, value in BROWSER.items()}
    names |= {name.replace("_", "-"): value for name, value in headers.items()}
    names.setdefault("host", "shop.example")
    return Request(method, scheme, names["host"], path, query, names, "192.0.2.7", None)


def load(
    web: Web, asked: Request, *, status: int = 200, kind: str = "text/html", cache: str = ""
) -> Cookie | None:
    """A whole visit: begin, an event inside, answer."""
    visit = web.begin(asked)
    assert visit is not None
    with visit.inside():
        web.tracker.track("Inside")
    return visit.answer(status, kind, cache, None)


def jar(cookie: Cookie | None, name: str = "dp_visitor") -> str:
    assert cookie is not None
    return f"a=b; {name}={cookie.value}; c=d"


# -- the cookie ----------------------------------------------------------------------------------


def test_a_visitor_survives_the_cookie() -> None:
    visitor = Visitor("a", "s", 5, {"source": "é=;"}, "https://x.example/")
    value = Signer(SECRET).write(visitor)
    assert Signer(SECRET).read(value) == visitor
    assert all(char.isalnum() or char in "-_." for char in value)


@given(st.data())
def test_a_changed_cookie_is_not_believed(data: st.DataObject) -> None:
    """Whatever character is changed, dropped or added."""
    signer = Signer(SECRET)
    value = signer.write(Visitor("a", "s", 5))
    place = data.draw(st.integers(0, len(value) - 1))
    other = data.draw(st.text(max_size=3))
    changed = value[:place] + other + value[place + 1 :]
    if changed != value:
        read = signer.read(changed)
        # The last character of base64 carries bits that mean nothing.
        assert read is None or read == Visitor("a", "s", 5)


@given(st.text())
def test_any_text_is_a_cookie_that_is_not_ours(value: str) -> None:
    assert Signer(SECRET).read(value) is None
    assert list(cookies(value, "nobody has this name")) == []


def test_a_signed_cookie_of_another_shape_is_not_believed() -> None:
    """As an older or a newer version might have written it."""
    signer = Signer(SECRET)
    whole = signer.write(Visitor("a", "s", 5))
    from desirepath.integrations._visitor import _signature

    for data in (b"[1]", b"{", b"\xff"):
        body = f"1.{base64.urlsafe_b64encode(data).rstrip(b'=').decode()}"
        assert signer.read(f"{body}.{_signature(signer._keys[0], body)}") is None
    assert signer.read(whole) is not None


def test_secrets_rotate() -> None:
    """The first signs, the older are still believed, a removed one is not."""
    old = Signer(SECRET).write(Visitor("a", "s", 5))
    both = Signer([SECRET[::-1], SECRET])
    assert both.read(old) == Visitor("a", "s", 5)
    assert Signer(SECRET[::-1]).read(both.write(Visitor("a", "s", 5))) is not None
    assert Signer(SECRET[::-1]).read(old) is None


def test_a_secret_is_asked_for(shop: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    """At start-up, with a way to make one; the environment may hold it."""
    monkeypatch.delenv("DESIREPATH_COOKIE_SECRET", raising=False)
    with pytest.raises(SettingsError, match="no secret"):
        Web(shop.tracker)
    with pytest.raises(SettingsError, match="shorter than 16"):
        Web(shop.tracker, secret="short")
    with pytest.raises(SettingsError):
        Web(shop.tracker, secret=[])
    monkeypatch.setenv("DESIREPATH_COOKIE_SECRET", SECRET)
    Web(shop.tracker)


@pytest.mark.parametrize(
    "options", [{"ignore": "/static"}, {"session_timeout_s": 0}, {"consent_required": "analytics"}]
)
def test_wrong_options_are_refused_at_once(shop: Seen, options: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        Web(shop.tracker, secret=SECRET, **options)


def test_the_cookies_attributes() -> None:
    plain = Cookie("dp_visitor", "v", 60, None, False)
    assert plain.header() == "dp_visitor=v; Max-Age=60; Path=/; HttpOnly; SameSite=Lax"
    there = Cookie("dp_visitor", "v", 60, "shop.example", True).header()
    assert there.endswith("; SameSite=Lax; Domain=shop.example; Secure")


def test_secure_follows_the_scheme_unless_told(shop: Seen) -> None:
    """Behind a proxy that ends TLS, the app may know better."""
    web = Web(shop.tracker, secret=SECRET)
    for scheme, secure in (("https", True), ("http", False)):
        cookie = load(web, request(scheme=scheme))
        assert cookie is not None
        assert cookie.secure is secure
    cookie = load(Web(shop.tracker, secret=SECRET, cookie_secure=True), request(scheme="http"))
    assert cookie is not None
    assert cookie.secure


# -- visitors and sessions -----------------------------------------------------------------------


def test_a_session_ends_with_a_pause(shop: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    """The visitor stays, the session is new, and so is what brought them; clock back or not."""
    web = Web(shop.tracker, secret=SECRET)
    began = time.time()
    cookie = jar(load(web, request(query="utm_source=mail", referer="https://a.example/x")))
    for later, same in ((1_000, True), (-5_000, True), (1_801, False)):
        monkeypatch.setattr(time, "time", lambda later=later: began + later)
        assert load(web, request(cookie=cookie)) is not None, "the time of the session is noted"
        first, last = shop.events("Inside")[0], shop.events("Inside")[-1]
        assert first["anonymousId"] == last["anonymousId"]
        assert (first["context"]["sessionId"] == last["context"]["sessionId"]) is same
        assert ("campaign" in last["context"]) is same
        assert ("referrer" in last["context"]) is same


def test_the_last_campaign_and_the_first_referrer_of_a_session_count(shop: Seen) -> None:
    """A way back from the payment page is no new source."""
    web = Web(shop.tracker, secret=SECRET)
    cookie = jar(load(web, request(query="utm_source=a", referer="https://search.example/?q=1")))
    cookie = jar(load(web, request(cookie=cookie, query="utm_source=b&utm_medium=mail&x=1")))
    load(web, request(cookie=cookie, referer="https://pay.example/"))
    context = shop.messages[-1]["context"]
    assert context["campaign"] == {"source": "b", "medium": "mail"}
    assert context["referrer"]["host"] == "search.example"


def test_the_sites_own_pages_are_no_referrer(shop: Seen) -> None:
    load(Web(shop.tracker, secret=SECRET), request(referer="https://shop.example/list"))
    page = shop.only()
    assert page["properties"]["referrer"] == "https://shop.example/list"
    assert "referrer" not in page["context"]


@pytest.mark.parametrize(
    ("referrer", "foreign"),
    [
        ("https://blog.shop.example/", False),
        ("https://shop.example:8443/", False),
        ("https://notshop.example/", True),
        ("android-app://com.example/", False),
    ],
)
def test_subdomains_that_share_the_cookie_are_no_referrer(
    shop: Seen, referrer: str, foreign: bool
) -> None:
    web = Web(shop.tracker, secret=SECRET, cookie_domain=".shop.example")
    load(web, request(referer=referrer))
    assert ("referrer" in shop.only()["context"]) is foreign


def test_a_forged_cookie_makes_a_new_visitor(shop: Seen) -> None:
    """Also where it stands before the true one, as a subdomain might set it."""
    web = Web(shop.tracker, secret=SECRET)
    cookie = load(web, request())
    assert cookie is not None
    forged = Signer("another secret, as long as it is").write(new_visitor(0))
    load(web, request(cookie=f"dp_visitor={forged}"))
    load(web, request(cookie=f"dp_visitor={forged}; dp_visitor={cookie.value}"))
    first, second, third = (each["anonymousId"] for each in shop.pages())
    assert first == third != second


@pytest.mark.parametrize("cache", ["public, max-age=60", "s-maxage=60", "PUBLIC"])
def test_an_answer_that_shared_caches_keep_gets_no_cookie(shop: Seen, cache: str) -> None:
    """And a page view only of a visitor who is known: nobody is counted again and again."""
    web = Web(shop.tracker, secret=SECRET)
    known = jar(load(web, request()))
    assert load(web, request(), cache=cache) is None
    assert len(shop.pages()) == 1
    assert load(web, request(cookie=known, query="utm_source=x"), cache=cache) is None
    assert len(shop.pages()) == 2


# -- consent -------------------------------------------------------------------------------------


def test_without_consent_nothing_is_kept(shop: Seen) -> None:
    """No event, no page view, no cookie, and the old cookie goes."""
    web = Web(shop.tracker, secret=SECRET)
    visitor = jar(load(web, request()))
    shop.messages.clear()
    assert load(web, request(cookie="dp_consent=analytics=0")) is None
    gone = load(web, request(cookie=f"{visitor}; dp_consent=analytics%3Dno"))
    assert gone is not None
    assert (gone.value, gone.max_age_s) == ("", 0)
    assert shop.messages == []
    assert shop.tracker.stats().discarded["consent"] == 2


@pytest.mark.parametrize(
    ("cookie", "kept"),
    [
        ("", False),
        ("dp_consent=analytics=1", True),
        ("dp_consent=analytics=granted&marketing=denied", True),
        ("dp_consent=marketing=1", False),
        ("dp_consent=%FF%00&&&==", False),
    ],
)
def test_where_silence_means_no(shop: Seen, cookie: str, kept: bool) -> None:
    web = Web(shop.tracker, secret=SECRET, consent_required=["analytics"])
    assert (load(web, request(cookie=cookie)) is not None) is kept
    assert len(shop.messages) == (2 if kept else 0)


def test_other_purposes_go_on_without_a_lasting_id() -> None:
    """What is needed to run the shop is not analytics; nobody is recognised by it."""
    with seen(purposes={"Inside": "operation"}) as shop:
        web = Web(shop.tracker, secret=SECRET)
        for _ in range(2):
            load(web, request(cookie="dp_consent=analytics=0"))
        first, second = shop.events("Inside")
        assert first["anonymousId"] != second["anonymousId"]
        assert shop.pages() == []


def test_the_consent_hook_is_asked_and_a_failure_of_it_means_no(
    shop: Seen, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[Any] = []

    def hook(native: Any) -> dict[str, bool] | None:
        asked.append(native)
        if len(asked) > 1:
            raise RuntimeError("the consent store is away")
        return {"analytics": True}

    web = Web(shop.tracker, secret=SECRET, consent=hook)
    assert load(web, request()) is not None
    assert load(web, request()) is None
    assert load(web, request()) is None
    assert len(shop.messages) == 2
    assert asked == [None, None, None]
    assert caplog.text.count("the consent hook failed") == 1


# -- page views ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind", "counts"),
    [
        (200, "text/html; charset=utf-8", True),
        (200, "TEXT/HTML", True),
        (203, "application/xhtml+xml", True),
        (304, "", True),
        (200, "application/json", False),
        (302, "text/html", False),
        (404, "text/html", False),
    ],
)
def test_a_page_view_is_an_html_page_that_was_shown(
    shop: Seen, status: int, kind: str, counts: bool
) -> None:
    """304 too: the browser shows the page it has."""
    load(Web(shop.tracker, secret=SECRET), request(), status=status, kind=kind)
    assert len(shop.pages()) == counts


def test_the_page_hook_changes_and_refuses(shop: Seen, caplog: pytest.LogCaptureFixture) -> None:
    """And may fail; the cookie then waits for the next page."""

    def hook(asked: Request, properties: dict[str, Any]) -> dict[str, Any] | None:
        if asked.path == "/fail":
            raise RuntimeError("the hook's own")
        return None if asked.path == "/admin" else {**properties, "title": "Shop"}

    web = Web(shop.tracker, secret=SECRET, page=hook)
    for path in ("/", "/admin", "/fail", "/fail"):
        load(web, request(path))
    assert shop.only()["properties"]["title"] == "Shop"
    assert caplog.text.count("the page view failed") == 1
    load(Web(shop.tracker, secret=SECRET, page=False), request())
    assert len(shop.pages()) == 1


def test_ignored_paths_are_left_alone(shop: Seen) -> None:
    """The path itself and all below, not what merely begins like it."""
    web = Web(shop.tracker, secret=SECRET, ignore=["/internal/", "/x"])
    assert web.begin(request("/internal")) is None
    assert web.begin(request("/internal/a")) is None
    assert web.begin(request("/x/y")) is None
    assert web.begin(request("/xylophone")) is not None
    assert web.begin(request("/static/a.css")) is not None


@pytest.mark.parametrize(
    ("agent", "robot"),
    [
        ("Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)", True),
        ("facebookexternalhit/1.1", True),
        ("kube-probe/1.33", True),
        ("Mozilla/5.0 (Linux; Android 13; CUBOT_X70) Chrome/140 Mobile Safari/537.36", False),
        (BROWSER["User-Agent"], False),
        ("", False),
    ],
)
def test_robots_are_no_visitors(shop: Seen, agent: str, robot: bool) -> None:
    """Unless asked for."""
    cookie = load(Web(shop.tracker, secret=SECRET), request(user_agent=agent))
    assert (cookie is None) is robot
    assert (shop.pages() == []) is robot
    assert load(Web(shop.tracker, secret=SECRET, robots=True), request(user_agent=agent))


def test_the_address_is_sent_only_on_request(shop: Seen) -> None:
    load(Web(shop.tracker, secret=SECRET, send_ip=True), request())
    assert shop.only()["context"]["ip"] == "192.0.2.7"


def test_long_values_are_cut(shop: Seen) -> None:
    """The cookie stays a cookie, the event an event."""
    query = "&".join(f"{name}={'é' * 5_000}" for name in ("utm_source", "utm_term", "q"))
    headers = {"referer": f"https://x.example/{'r' * 9_000}", "accept_language": "l" * 9_000}
    cookie = load(Web(shop.tracker, secret=SECRET), request("/" + "p" * 9_000, query, **headers))
    assert cookie is not None
    assert len(cookie.value) < 2_000
    for value in shop.only()["properties"].values():
        assert len(value) <= 2_000
    assert Signer(SECRET).read(cookie.value) is not None


def test_a_page_view_fits_the_starter_plan() -> None:
    """Name, path, URL, search and referrer are those of Segment's specification."""
    with seen(plan=Plan.load(PLAN)) as shop:
        web = Web(shop.tracker, secret=SECRET, send_ip=True)
        visit = web.begin(request("/p/1", "utm_source=x&q=1", referer="https://x.example/"))
        assert visit is not None
        visit.answer(200, "text/html", "", "/p/{id}")
        assert shop.only()["properties"]["name"] == "/p/{id}"
        assert shop.tracker.stats().violations == {}


@given(
    st.text(max_size=30),
    st.text(max_size=60),
    st.dictionaries(
        st.sampled_from(["referer", "accept_language", "user_agent", "cookie", "host"]),
        st.text(max_size=60),
    ),
)
@example("", "", {"referer": "http://[::1/", "host": "[::1"})
def test_no_request_raises_or_is_lost(path: str, query: str, headers: dict[str, str]) -> None:
    """Whatever is in its URL and its headers."""
    with seen() as shop:
        web = Web(shop.tracker, secret=SECRET)
        asked = request("/" + path, query, **headers)
        load(web, asked)
        assert len(shop.events("Inside")) == 1


def test_no_framework_is_imported_for_another() -> None:
    """ASGI and WSGI need none at all."""
    program = """
import sys
class Gate:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("starlette", "django", "flask", "aiohttp", "asgiref"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Gate())
import desirepath.integrations.asgi
import desirepath.integrations.wsgi
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


# -- the person inside ---------------------------------------------------------------------------


def test_set_user_holds_for_inner_scopes_and_ends_with_the_request(shop: Seen) -> None:
    set_user("nobody: there is no request")
    web = Web(shop.tracker, secret=SECRET, request_event="Served")
    visit = web.begin(request())
    assert visit is not None
    with visit.inside(), shop.tracker.context(properties={"a": 1}):
        set_user(7)
        shop.tracker.track("Inside")
    visit.finish(200, None)
    assert shop.only("Inside")["userId"] == "7"
    assert shop.only("Served")["userId"] == "7"
    with visit.inside():
        set_user(None)
        shop.tracker.track("Logged Out")
    assert "userId" not in shop.only("Logged Out")
    assert CURRENT.get() is None


def test_a_visitor_is_tied_to_their_user_once(shop: Seen) -> None:
    """The warehouse joins the two by an `identify`; the cookie remembers it, without the name."""
    who: list[str | None] = [None]
    web = Web(shop.tracker, secret=SECRET, user=lambda _: who[0])
    cookie = jar(load(web, request()))
    identified = []
    for user in (None, "ada", "ada", "bob", "bob", None, "bob"):
        who[0] = user
        sent = load(web, request(cookie=cookie))
        cookie = cookie if sent is None else jar(sent)
        identified.append(len([each for each in shop.messages if each["type"] == "identify"]))
    assert identified == [0, 1, 1, 2, 2, 2, 2]
    said = next(each for each in shop.messages if each["type"] == "identify")
    assert said["userId"] == "ada"
    assert said["anonymousId"] == shop.pages()[0]["anonymousId"]
    assert said["traits"] == {}
    assert b"bob" not in base64.urlsafe_b64decode(cookie.split(".")[1] + "==")


@pytest.mark.parametrize(
    ("options", "headers", "cache"),
    [
        ({"identify": False}, {}, ""),
        ({}, {"cookie": "dp_consent=analytics=0"}, ""),
        ({}, {"user_agent": "Googlebot"}, ""),
        ({}, {}, "public"),
    ],
)
def test_who_is_not_recognised_is_not_tied(
    shop: Seen, options: dict[str, Any], headers: dict[str, str], cache: str
) -> None:
    web = Web(shop.tracker, secret=SECRET, user=lambda _: "ada", **options)
    load(web, request(**headers), cache=cache)
    assert [each for each in shop.messages if each["type"] == "identify"] == []


def test_a_user_hook_that_fails_names_nobody(shop: Seen, caplog: pytest.LogCaptureFixture) -> None:
    def hook(_: Any) -> str:
        raise RuntimeError("no session yet")

    with caplog.at_level(logging.ERROR, "desirepath"):
        load(Web(shop.tracker, secret=SECRET, user=hook), request())
    assert "userId" not in shop.only()
    assert "the user hook failed" in caplog.text


def test_a_tracker_that_raises_does_not_reach_the_app(caplog: pytest.LogCaptureFixture) -> None:
    """`on_violation="raise"` is for the app's own calls."""
    plan = Plan.parse("plan: p\nversion: 1.0.0\nevents: {Page Viewed: {properties: {a: string}}}")
    with seen(plan=plan, on_violation="raise") as shop:
        web = Web(shop.tracker, secret=SECRET, request_event="Served")
        visit = web.begin(request())
        assert visit is not None
        visit.answer(200, "text/html", "", None)
        visit.finish(200, None)
    assert "the page view failed" in caplog.text
    assert "the request event failed" in caplog.text


def test_a_failure_of_our_own_leaves_the_request_alone(
    shop: Seen, caplog: pytest.LogCaptureFixture
) -> None:
    """As a header that is no text would be."""
    web = Web(shop.tracker, secret=SECRET)
    broken: Any = 5
    assert web.begin(request(user_agent=broken)) is None
    assert "beginning the visit failed" in caplog.text
