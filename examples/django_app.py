"""A Django project in one file, with page views, visitors and users.

Run a collector (`desirepath serve --data ./data`), then

    python examples/django_app.py runserver 8080

and open http://127.0.0.1:8080.
"""

from __future__ import annotations

import os
import secrets
import sys

from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import execute_from_command_line
from django.http import HttpRequest, HttpResponse
from django.urls import path

from desirepath import Tracker
from desirepath.integrations import set_user

PAGE = """<!doctype html><title>Shop</title>
<form method="post" action="/login?user=ada"><button>Log in as Ada</button></form>
<form method="post" action="/buy?total=42.5"><button>Buy</button></form>"""

tracker = Tracker()  # a project has this in a module of its own: shop/analytics.py

if not settings.configured:
    settings.configure(
        DEBUG=True,
        # In production a fixed secret: with a new one at each start every visitor is new.
        SECRET_KEY=os.environ.get("SECRET_KEY") or secrets.token_urlsafe(32),
        ROOT_URLCONF=__name__,
        SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "desirepath.integrations.django.DesirepathMiddleware",
        ],
        DESIREPATH={
            "tracker": tracker,  # or its dotted path: "shop.analytics.tracker"
            # Only because this example knows no accounts: the default is Django's own user.
            "user": lambda request: request.session.get("user"),
        },
    )


def home(_: HttpRequest) -> HttpResponse:
    """A page: tracked as a page view."""
    return HttpResponse(PAGE)


def login(request: HttpRequest) -> HttpResponse:
    """From here on the visitor is a user, also in what they did before."""
    user = request.session["user"] = request.GET["user"]  # a real app would check a password
    set_user(user)  # Django's own login does this by itself
    tracker.identify(user, {"plan": "basic"})
    return HttpResponse(f"Hello {user}")


def buy(request: HttpRequest) -> HttpResponse:
    """Who bought, and in which visit, is known from the request."""
    total = float(request.GET["total"])
    tracker.track("Order Completed", {"order_id": secrets.token_hex(4), "total": total})
    return HttpResponse("Thank you")


urlpatterns = [path("", home), path("login", login), path("buy", buy)]
application = WSGIHandler()

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
