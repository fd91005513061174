"""The same client for `asyncio`: no call ever holds up the event loop."""

from __future__ import annotations

import asyncio
import functools
from types import TracebackType
from typing import Any, Callable, Optional, TypeVar, Union

from .calls import Id, Properties
from .client import TelemetryClient
from .identity import Timestamp
from .measure import Measurement
from .milestones import CustomMilestone, MilestoneName
from .queue import Stats

__all__ = ["AsyncTelemetryClient"]

_Result = TypeVar("_Result")
_Self = TypeVar("_Self", bound="AsyncTelemetryClient")


class AsyncTelemetryClient:
    """`TelemetryClient` with `async` methods of the same names and arguments.

    Events are taken in at once, as they take microseconds; only what may wait (a full queue with `when_full="block"`,
    the disk with `spool_writes="call"`, `flush`, `close`) goes to a thread.
    """

    def __init__(self, url: Optional[str] = None, api_key: Optional[str] = None, **options: Any) -> None:
        #: The client underneath, for code that is not `async`.
        self.sync = TelemetryClient(url, api_key, **options)
        own = self.sync.options
        self._may_wait = own.when_full == "block" or (own.spool is not None and own.spool_writes == "call")

    async def _call(self, method: Callable[..., _Result], *args: Any, **kwargs: Any) -> _Result:
        if not self._may_wait:
            return method(*args, **kwargs)
        return await _in_thread(functools.partial(method, *args, **kwargs))

    async def track(
        self,
        event: str,
        *,
        user_id: Optional[Id] = None,
        anonymous_id: Optional[Id] = None,
        properties: Optional[Properties] = None,
        context: Optional[Properties] = None,
        timestamp: Optional[Timestamp] = None,
        session_id: Optional[str] = None,
        journey_id: Optional[str] = None,
        event_id: Optional[str] = None,
    ) -> Optional[str]:
        """See `TelemetryClient.track`."""
        return await self._call(
            self.sync.track,
            event,
            user_id=user_id,
            anonymous_id=anonymous_id,
            properties=properties,
            context=context,
            timestamp=timestamp,
            session_id=session_id,
            journey_id=journey_id,
            event_id=event_id,
        )

    async def track_ttf_milestone(
        self,
        milestone: Union[MilestoneName, CustomMilestone],
        *,
        user_id: Id,
        properties: Optional[Properties] = None,
        context: Optional[Properties] = None,
        timestamp: Optional[Timestamp] = None,
        session_id: Optional[str] = None,
        journey_id: Optional[str] = None,
        event_id: Optional[str] = None,
    ) -> Optional[str]:
        """See `TelemetryClient.track_ttf_milestone`."""
        return await self._call(
            self.sync.track_ttf_milestone,
            milestone,
            user_id=user_id,
            properties=properties,
            context=context,
            timestamp=timestamp,
            session_id=session_id,
            journey_id=journey_id,
            event_id=event_id,
        )

    async def identify(
        self,
        user_id: Id,
        traits: Optional[Properties] = None,
        *,
        anonymous_id: Optional[Id] = None,
        context: Optional[Properties] = None,
        timestamp: Optional[Timestamp] = None,
        event_id: Optional[str] = None,
    ) -> Optional[str]:
        """See `TelemetryClient.identify`."""
        return await self._call(
            self.sync.identify,
            user_id,
            traits,
            anonymous_id=anonymous_id,
            context=context,
            timestamp=timestamp,
            event_id=event_id,
        )

    async def group(
        self,
        user_id: Id,
        group_id: Id,
        traits: Optional[Properties] = None,
        *,
        context: Optional[Properties] = None,
        timestamp: Optional[Timestamp] = None,
        event_id: Optional[str] = None,
    ) -> Optional[str]:
        """See `TelemetryClient.group`."""
        return await self._call(
            self.sync.group, user_id, group_id, traits, context=context, timestamp=timestamp, event_id=event_id
        )

    async def page(
        self,
        name: Optional[str] = None,
        *,
        user_id: Optional[Id] = None,
        anonymous_id: Optional[Id] = None,
        url: Optional[str] = None,
        properties: Optional[Properties] = None,
        context: Optional[Properties] = None,
        timestamp: Optional[Timestamp] = None,
        session_id: Optional[str] = None,
        event_id: Optional[str] = None,
    ) -> Optional[str]:
        """See `TelemetryClient.page`."""
        return await self._call(
            self.sync.page,
            name,
            user_id=user_id,
            anonymous_id=anonymous_id,
            url=url,
            properties=properties,
            context=context,
            timestamp=timestamp,
            session_id=session_id,
            event_id=event_id,
        )

    async def error(
        self,
        error: Union[BaseException, type[BaseException], str],
        message: Optional[str] = None,
        *,
        handled: bool = True,
        severity: str = "error",
        operation: Optional[str] = None,
        user_id: Optional[Id] = None,
        properties: Optional[Properties] = None,
        context: Optional[Properties] = None,
        timestamp: Optional[Timestamp] = None,
        event_id: Optional[str] = None,
    ) -> Optional[str]:
        """See `TelemetryClient.error`."""
        return await self._call(
            self.sync.error,
            error,
            message,
            handled=handled,
            severity=severity,
            operation=operation,
            user_id=user_id,
            properties=properties,
            context=context,
            timestamp=timestamp,
            event_id=event_id,
        )

    async def performance(
        self,
        operation: str,
        duration_ms: float,
        *,
        status: Optional[str] = "ok",
        http_status: Optional[int] = None,
        user_id: Optional[Id] = None,
        properties: Optional[Properties] = None,
        context: Optional[Properties] = None,
        timestamp: Optional[Timestamp] = None,
        event_id: Optional[str] = None,
    ) -> Optional[str]:
        """See `TelemetryClient.performance`."""
        return await self._call(
            self.sync.performance,
            operation,
            duration_ms,
            status=status,
            http_status=http_status,
            user_id=user_id,
            properties=properties,
            context=context,
            timestamp=timestamp,
            event_id=event_id,
        )

    def measure(
        self, operation: str, *, user_id: Optional[Id] = None, properties: Optional[Properties] = None
    ) -> Measurement:
        """Times an `async with` block, or every call of the (coroutine) function it decorates."""
        return self.sync.measure(operation, user_id=user_id, properties=properties)

    def stats(self) -> Stats:
        """See `TelemetryClient.stats`."""
        return self.sync.stats()

    async def flush(self, timeout: float = 10.0) -> bool:
        """See `TelemetryClient.flush`."""
        return await _in_thread(functools.partial(self.sync.flush, timeout))

    async def close(self, timeout: Optional[float] = None) -> bool:
        """See `TelemetryClient.close`."""
        return await _in_thread(functools.partial(self.sync.close, timeout))

    async def __aenter__(self: _Self) -> _Self:
        return self

    async def __aexit__(
        self,
        _kind: Optional[type[BaseException]],
        _error: Optional[BaseException],
        _traceback: Optional[TracebackType],
    ) -> None:
        await self.close()


async def _in_thread(call: Callable[[], _Result]) -> _Result:
    return await asyncio.get_running_loop().run_in_executor(None, call)
