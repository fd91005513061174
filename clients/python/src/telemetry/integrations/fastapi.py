"""FastAPI and other ASGI applications: every request as a performance event under its route, unhandled exceptions as
error events.

    app.add_middleware(TelemetryMiddleware, client=client)
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Union

from ..aio import AsyncTelemetryClient
from ..client import TelemetryClient

Scope = MutableMapping[str, Any]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Scope, Callable[[], Awaitable[Any]], Send], Awaitable[None]]


class TelemetryMiddleware:
    """The route's pattern (`/users/{id}`) is sent, never the path itself."""

    def __init__(self, app: App, client: Union[TelemetryClient, AsyncTelemetryClient]) -> None:
        self._app = app
        self._client = client if isinstance(client, TelemetryClient) else client.sync

    async def __call__(self, scope: Scope, receive: Callable[[], Awaitable[Any]], send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500
        started = time.perf_counter()

        async def sending(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception as error:
            self._client.error(error, handled=False, operation=_operation(scope))
            raise
        finally:
            self._client.performance(
                _operation(scope),
                round((time.perf_counter() - started) * 1000, 3),
                status="error" if status >= 500 else "ok",
                http_status=status,
            )


def _operation(scope: Scope) -> str:
    # Known once the router has run.
    path = getattr(scope.get("route"), "path", "(no route)")
    return f"{scope['method']} {path}"
