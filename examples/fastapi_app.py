"""A FastAPI app with page views, visitors and users: integration in one line.

Run a collector (`desirepath serve --data ./data`), then, with uvicorn installed,

    uvicorn examples.fastapi_app:app --port 8080

and open http://127.0.0.1:8080.
"""

from __future__ import annotations

import os
import secrets

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse

from desirepath import Tracker
from desirepath.integrations import set_user
from desirepath.integrations.asgi import DesirepathMiddleware

PAGE = """<!doctype html><title>Shop</title>
<form method="post" action="/login?user=ada"><button>Log in as Ada</button></form>
<form method="post" action="/buy?total=42.5"><button>Buy</button></form>"""


def make_app(tracker: Tracker) -> FastAPI:
    """The app; the tracker is passed in, so that tests can bring their own."""
    app = FastAPI()
    app.add_middleware(
        DesirepathMiddleware,
        tracker,
        # In production a fixed secret: with a new one at each start every visitor is new.
        secret=os.environ.get("DESIREPATH_COOKIE_SECRET") or secrets.token_urlsafe(32),
        user=lambda scope: Request(scope).cookies.get("user"),
    )

    @app.get("/", response_class=HTMLResponse)
    async def home() -> str:
        return PAGE  # tracked as a page view

    @app.post("/login")
    async def login(user: str, response: Response) -> str:
        response.set_cookie("user", user)  # a real app would check a password and sign this
        set_user(user)
        tracker.identify(user, {"plan": "basic"})
        return f"Hello {user}"

    @app.post("/buy")
    async def buy(total: float) -> str:
        # Who bought, and in which visit, is known from the request.
        tracker.track("Order Completed", {"order_id": secrets.token_hex(4), "total": total})
        return "Thank you"

    return app


tracker = Tracker()
app = make_app(tracker)
