"""The client: `track` and its kin.

Calls take microseconds, never wait for the network and never raise into the application unless `strict` is set; what
cannot be delivered is counted, logged and told to `on_drop`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Optional, TypeVar, Union

from . import calls, pipeline
from .calls import Call, Id, Properties
from .config import Options, known_milestones, load
from .errors import TelemetryError
from .identity import Timestamp, rfc3339, stated
from .measure import Measurement
from .milestones import CustomMilestone, MilestoneName, unknown_milestone
from .pipeline import Pipeline
from .plain import plain
from .queue import Stats
from .transport import Transport

__all__ = ["NullClient", "TelemetryClient"]

_log = logging.getLogger("telemetry")
_MADE_HERE = frozenset(("event_id", "event_type", "timestamp"))
_TYPE_ONLY = frozenset(("event_type",))
_Self = TypeVar("_Self", bound="TelemetryClient")


class TelemetryClient:
    """Sends events to a TTF gateway from the background. Safe to share between threads, and across forks.

    Without arguments it goes by `TELEMETRY_URL`, `TELEMETRY_API_KEY` and `TELEMETRY_CONFIG`. Every option of
    `telemetry.config.Options` is a keyword argument; docs/python-client.md explains each.

    Raises `ConfigurationError` for an option that cannot be carried out.
    """

    def __init__(
        self,
        url: Optional[str] = None,
        api_key: Optional[str] = None,
        *,
        spool: Optional[Union[str, Path]] = None,
        transport: Optional[Transport] = None,
        **options: Any,
    ) -> None:
        self._start(load({"url": url, "api_key": api_key, "spool": spool, **options}), transport)

    def _start(self, options: Options, transport: Optional[Transport]) -> None:
        self.options = options
        self._milestones = known_milestones(options)
        self._is_silent = not options.enabled and not options.debug
        self._pipeline = Pipeline(options, transport)

    # -- events

    def track(
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
        """Says that something happened. One of `user_id` and `anonymous_id` is needed.

        `timestamp` is a `datetime`, RFC 3339 or seconds since 1970; now, when it is left out. `event_id` is the
        idempotency key, made when it is left out. `context` is added to the client's. Returns the event's id, `None`
        when the event was dropped. Raises `TelemetryError` in strict mode only.
        """
        return self._emit(
            None,
            ("track", event, properties),
            user_id,
            anonymous_id=anonymous_id,
            context=context,
            timestamp=timestamp,
            session_id=session_id,
            journey_id=journey_id,
            event_id=event_id,
        )

    def track_ttf_milestone(
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
        """Says that a user reached a milestone of a journey, such as `first_project_created`.

        A name that is not known is logged with the nearest one, and sent: the gateway's journeys decide. In strict
        mode it raises. Milestones of your own: option `milestones`, and `CustomMilestone` for type checkers.
        """
        if not self._is_silent or pipeline.captures:
            given = milestone if isinstance(milestone, str) else ""
            problem = unknown_milestone(given, self._milestones)
            if problem is not None:
                if self.options.strict or (pipeline.captures and pipeline.captures[-1].is_strict):
                    self._pipeline.refuse(given, "invalid")
                    raise TelemetryError(f"`{given[:60]}` {problem}")
                self._pipeline.complain_once(f"`{given[:60]}` {problem}")
        return self._emit(
            None,
            ("ttf_milestone", milestone, properties),
            user_id,
            context=context,
            timestamp=timestamp,
            session_id=session_id,
            journey_id=journey_id,
            event_id=event_id,
        )

    def identify(
        self,
        user_id: Id,
        traits: Optional[Properties] = None,
        *,
        anonymous_id: Optional[Id] = None,
        context: Optional[Properties] = None,
        timestamp: Optional[Timestamp] = None,
        event_id: Optional[str] = None,
    ) -> Optional[str]:
        """Says what is known of a user (plan, company size, …)."""
        return self._emit(
            calls.identify,
            (traits,),
            user_id,
            anonymous_id=anonymous_id,
            context=context,
            timestamp=timestamp,
            event_id=event_id,
        )

    def group(
        self,
        user_id: Id,
        group_id: Id,
        traits: Optional[Properties] = None,
        *,
        context: Optional[Properties] = None,
        timestamp: Optional[Timestamp] = None,
        event_id: Optional[str] = None,
    ) -> Optional[str]:
        """Says that a user belongs to a group (a company, a workspace)."""
        return self._emit(
            calls.group, (group_id, traits), user_id, context=context, timestamp=timestamp, event_id=event_id
        )

    def page(
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
        """Says that a page was seen."""
        return self._emit(
            calls.page,
            (name, url, properties),
            user_id,
            anonymous_id=anonymous_id,
            context=context,
            timestamp=timestamp,
            session_id=session_id,
            event_id=event_id,
        )

    def error(
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
        """Says that something failed. Of an exception its class is sent; its text only with the option
        `error_messages`, or as `message`: it may hold anything, a user's data included."""
        told = (error, message, handled, severity, operation, properties, self.options.error_messages)
        return self._emit(calls.error, told, user_id, context=context, timestamp=timestamp, event_id=event_id)

    def performance(
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
        """Says how long an operation took, in milliseconds; `status` is `ok` or `error`."""
        told = (operation, duration_ms, status, http_status, properties)
        return self._emit(calls.performance, told, user_id, context=context, timestamp=timestamp, event_id=event_id)

    def measure(
        self, operation: str, *, user_id: Optional[Id] = None, properties: Optional[Properties] = None
    ) -> Measurement:
        """Times a `with` block, or every call of the function it decorates, and sends a performance event."""
        return Measurement(self.performance, operation, user_id, properties)

    def _emit(
        self,
        make: Optional[Callable[..., Call]],
        told: tuple[Any, ...],
        user_id: Optional[Id],
        *,
        anonymous_id: Optional[Id] = None,
        context: Optional[Properties] = None,
        timestamp: Optional[Timestamp] = None,
        session_id: Optional[str] = None,
        journey_id: Optional[str] = None,
        event_id: Optional[str] = None,
    ) -> Optional[str]:
        if self._is_silent and not pipeline.captures:
            return None
        behind = self._pipeline
        name: Any = None
        try:
            # First of all: in the child of a fork even the next random number is the parent's.
            behind.own()
            event_type, name, properties = told if make is None else make(*told)
            now = time.time_ns()
            event: dict[str, Any] = {
                "event_id": behind.ids.new(now) if event_id is None else event_id,
                "event_name": name,
                "event_type": event_type,
                "timestamp": rfc3339(now) if timestamp is None else stated(timestamp),
            }
            if user_id is not None:
                event["user_id"] = user_id if type(user_id) is str else calls.id_text(user_id)
            if anonymous_id is not None:
                event["anonymous_id"] = calls.id_text(anonymous_id)
            if session_id is not None:
                event["session_id"] = session_id
            if journey_id is not None:
                event["journey_id"] = journey_id
            if properties:
                event["properties"] = plain(properties)
            event["context"] = behind.context if context is None else self._merged(context)
            is_all_ours = event_id is None and timestamp is None
            return behind.submit(event, _MADE_HERE if is_all_ours else _TYPE_ONLY)
        except TelemetryError:
            raise
        except Exception as error:
            # Whatever an application gives us, it is not to suffer for it.
            behind.refuse(name, "internal")
            if self.options.strict:
                raise TelemetryError(f"the event could not be made: {type(error).__name__}") from error
            _log.warning("telemetry: an event could not be made", exc_info=self.options.debug)
            return None

    def _merged(self, context: Properties) -> dict[str, Any]:
        """The client's context with the event's on top; maps such as `segments` are joined."""
        merged = dict(self._pipeline.context)
        for key, value in context.items():
            known = merged.get(key)
            is_joined = isinstance(known, dict) and isinstance(value, dict) and key != "consent"
            merged[key] = {**known, **value} if is_joined else value  # type: ignore[dict-item]
        return dict(plain(merged))

    # -- the account and the end

    def stats(self) -> Stats:
        """What became of every event of this process; the sum is exact."""
        return self._pipeline.stats()

    def flush(self, timeout: float = 10.0) -> bool:
        """Sends what is there, for at most `timeout` seconds; True when every event so far has its fate."""
        return self._pipeline.flush(timeout)

    def close(self, timeout: Optional[float] = None) -> bool:
        """Sends what is there for at most `timeout` seconds (option `exit_timeout`), and ends; later events are
        dropped as `closed`. What is left over goes to the spool, or is given up (then False) and counted as `exit`.
        Called at the end of the process by itself."""
        return self._pipeline.close(timeout)

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self,
        _kind: Optional[type[BaseException]],
        _error: Optional[BaseException],
        _traceback: Optional[TracebackType],
    ) -> None:
        self.close()


class NullClient(TelemetryClient):
    """Takes every call, sends nothing, reads no environment. For tests and for code that always wants a client."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self._start(Options(enabled=False), None)
