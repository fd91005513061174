"""Django: every request as a performance event under its route, unhandled exceptions as error events.

MIDDLEWARE = ["telemetry.integrations.django.TelemetryMiddleware", …]
TELEMETRY = {"url": "https://ttf.example.com"}  # options of the client; may be left out
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

from django.conf import settings

from ..client import TelemetryClient


@functools.lru_cache(maxsize=1)
def client() -> TelemetryClient:
    """The client of this process, made from `settings.TELEMETRY`, for views to use, too."""
    return TelemetryClient(**getattr(settings, "TELEMETRY", {}))


class TelemetryMiddleware:
    """The route's pattern is sent, never the path itself; nor who was asking."""

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self._get_response = get_response
        self._client = client()

    def __call__(self, request: Any) -> Any:
        started = time.perf_counter()
        response = self._get_response(request)
        self._client.performance(
            _operation(request),
            round((time.perf_counter() - started) * 1000, 3),
            status="error" if response.status_code >= 500 else "ok",
            http_status=response.status_code,
        )
        return response

    def process_exception(self, request: Any, exception: Exception) -> None:
        """Called by Django for what a view raises."""
        self._client.error(exception, handled=False, operation=_operation(request))


def _operation(request: Any) -> str:
    match = request.resolver_match
    return f"{request.method} /{match.route}" if match is not None else f"{request.method} (no route)"
