"""Flask: the WSGI middleware, knowing Flask's routes, sessions and secret key.

init_app(app, tracker, user=lambda request: session.get("user_id"))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import flask

from desirepath.integrations._web import Options, set_user
from desirepath.integrations.wsgi import ROUTE, DesirepathMiddleware

if TYPE_CHECKING:
    from typing import Unpack
    from wsgiref.types import WSGIEnvironment

    from desirepath.tracker import Tracker

__all__ = ["init_app"]


def init_app(app: flask.Flask, tracker: Tracker, **options: Unpack[Options]) -> None:
    """Track an app's page views, and know its visitors in its views.

    Parameters
    ----------
    app
        The app, with its secret key.
    tracker
        Whose events these are.
    **options
        Those of `desirepath.integrations`; hooks get Flask's request. `user` is asked where
        `flask.session` and Flask-Login's `current_user` are there; `consent` before that.
        The default of `secret` is the app's secret key.

    Raises
    ------
    SettingsError
        If the secret is missing or short. A request never raises.
    """
    user = options.pop("user", None)
    consent = options.get("consent")
    if consent is not None:

        def of_environ(environ: WSGIEnvironment) -> Any:
            return consent(app.request_class(environ))

        options["consent"] = of_environ
    if app.secret_key and not options.get("secret"):
        options["secret"] = app.secret_key
    app.wsgi_app = middleware = DesirepathMiddleware(app.wsgi_app, tracker, **options)  # type: ignore[method-assign]

    @app.before_request
    def note() -> None:
        request = flask.request
        if request.url_rule is not None:
            request.environ[ROUTE] = request.url_rule.rule
        if user is None:
            return
        try:
            set_user(user(request))
        except Exception as error:
            middleware.failed("the user hook", error)
