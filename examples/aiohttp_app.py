"""An aiohttp app with page views, visitors and users: integration in one line.

Run a collector (`desirepath serve --data ./data`), then

    python examples/aiohttp_app.py

and open http://127.0.0.1:8080.
"""

from __future__ import annotations

import os
import secrets

from aiohttp import web

from desirepath import Tracker
from desirepath.integrations import set_user
from desirepath.integrations.aiohttp import setup

PAGE = """<!doctype html><title>Shop</title>
<form method="post" action="/login?user=ada"><button>Log in as Ada</button></form>
<form method="post" action="/buy?total=42.5"><button>Buy</button></form>"""


def make_app(tracker: Tracker) -> web.Application:
    """The app; the tracker is passed in, so that tests can bring their own."""
    app = web.Application()
    setup(
        app,
        tracker,
        # In production a fixed secret: with a new one at each start every visitor is new.
        secret=os.environ.get("DESIREPATH_COOKIE_SECRET") or secrets.token_urlsafe(32),
        user=lambda request: request.cookies.get("user"),
    )

    async def home(_: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")  # tracked as a page view

    async def login(request: web.Request) -> web.Response:
        user = request.query["user"]
        response = web.Response(text=f"Hello {user}")
        response.set_cookie("user", user)  # a real app would check a password and sign this
        set_user(user)
        tracker.identify(user, {"plan": "basic"})
        return response

    async def buy(request: web.Request) -> web.Response:
        # Who bought, and in which visit, is known from the request.
        total = float(request.query["total"])
        tracker.track("Order Completed", {"order_id": secrets.token_hex(4), "total": total})
        return web.Response(text="Thank you")

    app.add_routes([web.get("/", home), web.post("/login", login), web.post("/buy", buy)])
    return app


if __name__ == "__main__":
    web.run_app(make_app(Tracker()), host="127.0.0.1", port=8080)
