"""Times a stretch of code: as a context manager, or as a decorator of functions, generators' callers and coroutines."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Optional, Protocol, TypeVar, cast

from .calls import Id, Properties

_Function = TypeVar("_Function", bound=Callable[..., Any])


class Reports(Protocol):
    """Sends what was measured."""

    def __call__(
        self,
        operation: str,
        duration_ms: float,
        *,
        status: Optional[str],
        http_status: Optional[int],
        user_id: Optional[Id],
        properties: Optional[Properties],
    ) -> object: ...


class Measurement:
    """One stretch of code. `status`, `http_status` and `properties` may be set while it runs; an exception that
    leaves it makes the status `error` and goes on its way."""

    def __init__(
        self,
        report: Reports,
        operation: str,
        user_id: Optional[Id] = None,
        properties: Optional[Properties] = None,
    ) -> None:
        self._report, self.operation, self.user_id = report, operation, user_id
        self._given = dict(properties or {})
        self.properties: dict[str, Any] = dict(self._given)
        self.status: Optional[str] = None
        self.http_status: Optional[int] = None
        self._started: Optional[float] = None

    def __enter__(self) -> Measurement:
        self._started = time.perf_counter()
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        _error: Optional[BaseException],
        _traceback: Optional[TracebackType],
    ) -> None:
        started = time.perf_counter() if self._started is None else self._started
        duration_ms = round((time.perf_counter() - started) * 1000, 3)
        status = self.status or ("ok" if kind is None else "error")
        self._report(
            self.operation,
            duration_ms,
            status=status,
            http_status=self.http_status,
            user_id=self.user_id,
            properties=self.properties or None,
        )

    async def __aenter__(self) -> Measurement:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.__exit__(kind, error, traceback)

    def _again(self) -> Measurement:
        return Measurement(self._report, self.operation, self.user_id, self._given)

    def __call__(self, function: _Function) -> _Function:
        """Each call is measured by itself."""
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def measured_coroutine(*args: Any, **kwargs: Any) -> Any:
                with self._again():
                    return await function(*args, **kwargs)

            return cast(_Function, measured_coroutine)

        @functools.wraps(function)
        def measured(*args: Any, **kwargs: Any) -> Any:
            with self._again():
                return function(*args, **kwargs)

        return cast(_Function, measured)
