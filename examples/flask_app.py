"""A Flask app with page views, visitors and users: integration in one line.

Run a collector (`desirepath serve --data ./data`), then

    flask --app examples/flask_app.py run --port 8080

and open http://127.0.0.1:8080.
"""

from __future__ import annotations

import os
import secrets

from flask import Flask, request, session

from desirepath import Tracker
from desirepath.integrations import set_user
from desirepath.integrations.flask import init_app

PAGE = """<!doctype html><title>Shop</title>
<form method="post" action="/login?user=ada"><button>Log in as Ada</button></form>
<form method="post" action="/buy?total=42.5"><button>Buy</button></form>"""


def make_app(tracker: Tracker) -> Flask:
    """The app; the tracker is passed in, so that tests can bring their own."""
    app = Flask(__name__)
    # In production a fixed secret: with a new one at each start every visitor is new.
    app.secret_key = os.environ.get("SECRET_KEY") or secrets.token_urlsafe(32)
    init_app(app, tracker, user=lambda _: session.get("user"))

    @app.get("/")
    def home() -> str:
        return PAGE  # tracked as a page view

    @app.post("/login")
    def login() -> str:
        user = session["user"] = request.args["user"]  # a real app would check a password
        set_user(user)
        tracker.identify(user, {"plan": "basic"})
        return f"Hello {user}"

    @app.post("/buy")
    def buy() -> str:
        # Who bought, and in which visit, is known from the request.
        total = float(request.args["total"])
        tracker.track("Order Completed", {"order_id": secrets.token_hex(4), "total": total})
        return "Thank you"

    return app


app = make_app(Tracker())
