"""The sample shop: what an app looks like that is instrumented with Desirepath.

Each method is a thing that a real shop's handlers do, and the call that tells Desirepath about it.
The events and their properties are those of the starter plan `tracking_plans/shop.yaml`.
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any, Final

from visitors import Action, Product

from desirepath import Tracker

__all__ = ["Shop"]

CURRENCY: Final = "EUR"


class Shop:
    """The handlers of the shop; `tracker` is the one client that the app holds.

    `calls` counts what was told to it; `world` is what message ids begin with.
    """

    def __init__(self, tracker: Tracker, *, world: str) -> None:
        self.calls = 0
        self._tracker = tracker
        self._world = world
        self._signed_in: set[int] = set()

    def handle(self, action: Action) -> None:
        """Do what the visitor does."""
        getattr(self, action.what)(action)

    def view_page(self, action: Action) -> None:
        """The home page is shown."""
        self._tracker.page("Home", {"path": "/"}, **self._context(action))

    def view_product(self, action: Action) -> None:
        """A product's page is shown."""
        self._track(action, "Product Viewed", _facts(action.products[0]))

    def add_to_cart(self, action: Action) -> None:
        """A product is put into the cart."""
        self._track(action, "Product Added", {**_facts(action.products[0]), "quantity": 1})

    def sign_up(self, action: Action) -> None:
        """The visitor makes an account: from here on we know who it is."""
        self._signed_in.add(action.visitor.number)
        traits = {"email": action.visitor.email, "country": action.visitor.country}
        traits["created_at"] = action.at.isoformat()
        # Naming both ids joins what the visitor did before to the person known from now on.
        self._tracker.identify(
            action.visitor.user_id,
            traits,
            anonymous_id=action.visitor.anonymous_id,
            **self._moment(action),
        )
        self._track(action, "Signed Up", {"method": "email"})

    def start_checkout(self, action: Action) -> None:
        """The visitor begins to check out."""
        value = sum(product.price for product in action.products)
        self._track(action, "Checkout Started", {"value": value, "currency": CURRENCY})

    def pay(self, action: Action) -> None:
        """The order is paid."""
        total: Decimal | str = sum((product.price for product in action.products), Decimal(0))
        if action.visitor.app_version.startswith("1."):
            # A real bug of the old app: it sends the total as text. The plan says number, so
            # these orders wait in the quarantine, with their reason, until they are mended.
            total = str(total)
        order = {"order_id": action.order_id, "total": total, "currency": CURRENCY}
        products = [
            {**_facts(product), "quantity": count}
            for product, count in Counter(action.products).items()
        ]
        for product in products:
            del product["currency"]
        self._track(action, "Order Completed", {**order, "products": products})

    def answer_survey(self, action: Action) -> None:
        """The buyer says how happy they are."""
        self._track(action, "Survey Answered", {"survey": "after order", "score": action.score})

    def _track(self, action: Action, event: str, properties: dict[str, Any]) -> None:
        self._tracker.track(event, properties, **self._context(action))

    def _context(self, action: Action) -> dict[str, Any]:
        """Who does it, and when."""
        known = action.visitor.number in self._signed_in
        who = {"anonymous_id": action.visitor.anonymous_id}
        if known:
            who["user_id"] = action.visitor.user_id
        return {**who, **self._moment(action)}

    def _moment(self, action: Action) -> dict[str, Any]:
        """When it happened and around what: a live app leaves time and id to the tracker."""
        visitor = action.visitor
        self.calls += 1
        context = {
            "app_version": visitor.app_version,
            "sessionId": action.session,
            "device": {"type": visitor.device},
            "campaign": {"source": visitor.source},
            "location": {"country": visitor.country},
        }
        message_id = f"{self._world}-{self.calls:07d}"
        return {"timestamp": action.at, "context": context, "message_id": message_id}


def _facts(product: Product) -> dict[str, Any]:
    return {
        "product_id": product.product_id,
        "name": product.name,
        "category": product.category,
        "price": product.price,
        "currency": CURRENCY,
    }
