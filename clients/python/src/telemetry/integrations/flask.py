"""Flask: every request as a performance event under its route, unhandled exceptions as error events.

from telemetry.integrations.flask import instrument

instrument(app, client)
"""

from __future__ import annotations

import time
from typing import Any

from flask import Flask, Response, g, got_request_exception, request

from ..client import TelemetryClient


def instrument(app: Flask, client: TelemetryClient) -> None:
    """The route's pattern (`/users/<id>`) is sent, never the path itself."""

    def before() -> None:
        g.telemetry_started = time.perf_counter()

    def after(response: Response) -> Response:
        started = g.pop("telemetry_started", None)
        if started is not None:
            client.performance(
                _operation(),
                round((time.perf_counter() - started) * 1000, 3),
                status="error" if response.status_code >= 500 else "ok",
                http_status=response.status_code,
            )
        return response

    def failed(_sender: Any, exception: BaseException, **_: Any) -> None:
        client.error(exception, handled=False, operation=_operation())

    app.before_request(before)
    app.after_request(after)
    # Not weakly: nobody else holds the function.
    got_request_exception.connect(failed, app, weak=False)


def _operation() -> str:
    route = request.url_rule.rule if request.url_rule is not None else "(no route)"
    return f"{request.method} {route}"
