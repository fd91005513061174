"""From an event to its place in the queue: hook, privacy, validation, encoding; and the parts behind it, made anew in
every process that a fork gives birth to."""

from __future__ import annotations

import copy
import json
import logging
import os
import sqlite3
import sys
import threading
import time
from pathlib import Path
from typing import Any, Optional, Protocol

from . import lifecycle
from ._version import VERSION
from .config import Lost, Options
from .errors import ConfigurationError, DroppedError, InvalidEventError, Violation
from .identity import EventIds
from .plain import plain, to_bytes
from .queue import Entry, EventQueue, Stats
from .retry import Backoff
from .sender import Pace, Sender
from .spool import Spool, SpoolFullError
from .transport import HttpTransport, Transport
from .validation import MAX_EVENT_BYTES, check, too_large
from .verdict import Refusal

_log = logging.getLogger("telemetry")

LIBRARY = {"name": "ttf-telemetry-python", "version": VERSION}
#: The same complaint about events is logged at most this often, in seconds.
_COMPLAIN_EVERY = 30.0


class Capture(Protocol):
    """Takes events in place of the queue; see `telemetry.testing`."""

    is_strict: bool

    def take(self, event: dict[str, Any]) -> None:
        """An event as it would have been sent."""


#: Those that are active, the innermost last.
captures: list[Capture] = []


class Pipeline:
    """Everything behind a client. `submit` may be called by any thread, in any process."""

    def __init__(self, options: Options, transport: Optional[Transport] = None) -> None:
        self.options = options
        self._given_transport = transport
        self._policy = options.privacy.compile()
        self.context = self._base_context(options)
        # Where nothing looks into the events, the context that all have in common is encoded once.
        is_opaque = self._policy is None and options.before_send is None
        self._context_json = b',"context":' + to_bytes(self.context) + b"}" if is_opaque else None
        self._complained: dict[str, float] = {}
        self._rebuild_lock = threading.RLock()
        self._is_closed = False
        self._held_spool: Optional[Spool] = None
        self._build(self._open_spool())
        if options.enabled:
            lifecycle.register(self)
            if self.spool is not None:
                # What an earlier process left behind is sent even when this one has nothing to say.
                self.sender.ensure()

    def _open_spool(self) -> Optional[Spool]:
        options = self.options
        if options.spool is None or not options.enabled:
            return None
        try:
            return Spool(Path(options.spool), options.max_spool_bytes)
        except (OSError, sqlite3.Error) as error:
            raise ConfigurationError(f"spool: the folder cannot be used: {error}") from None

    def _base_context(self, options: Options) -> dict[str, Any]:
        context = plain({"library": LIBRARY, **options.context})
        probe = {"event_name": "test", "event_type": "test", "context": context}
        violations = check(probe)
        if violations:
            raise ConfigurationError(f"context: {violations[0]}")
        return dict(context)

    def _build(self, spool: Optional[Spool]) -> None:
        options = self.options
        self.pid = os.getpid()
        self.ids = EventIds()
        self.spool = spool
        self.transport = self._given_transport or make_transport(options)
        interval = options.flush_interval if spool is None else min(options.spool_interval, options.flush_interval)
        self.queue = EventQueue(
            max_events=options.max_queue_events,
            max_bytes=options.max_queue_bytes,
            when_full=options.when_full,
            block_timeout=options.block_timeout,
            batch_events=min(options.batch_events, options.max_queue_events),
            batch_bytes=min(options.batch_bytes, options.max_queue_bytes),
            interval=interval,
        )
        pace = Pace(
            options.batch_events,
            options.batch_bytes,
            options.timeout,
            options.flush_interval,
            Backoff(first=min(0.5, options.max_backoff), longest=options.max_backoff),
        )
        self.sender = Sender(self.queue, self.transport, pace, self._lost, spool)

    # -- forks

    def before_fork(self) -> None:
        """In the parent: waits, shortly, for a moment in which a child can be born whole."""
        self._held_spool = self.spool
        if self._held_spool is not None:
            self._held_spool.before_fork()

    def after_fork_in_parent(self) -> None:
        """In the parent: goes on."""
        if self._held_spool is not None:
            self._held_spool.after_fork_in_parent()
            self._held_spool = None

    def after_fork(self) -> None:
        """In the child: the queue, the connection and the spool are the parent's. Nothing here may wait or log."""
        self.pid = -1
        self._held_spool = None
        self._rebuild_lock = threading.RLock()
        if self.spool is not None:
            self.spool.forget()

    def own(self) -> None:
        """Makes sure that the parts are this process' own. (Some servers fork without telling Python.)"""
        if self.pid == os.getpid():
            return
        with self._rebuild_lock:
            if self.pid == os.getpid():
                return
            if self.spool is not None:
                self.spool.forget()
            self.transport.forget()
            spool = None
            try:
                spool = self._open_spool()
            except ConfigurationError as error:
                self._complain(f"events of this process stay in memory: {error}")
            self._build(spool)
            lifecycle.register(self)

    # -- events

    def submit(self, event: dict[str, Any], made_here: frozenset[str] = frozenset()) -> Optional[str]:
        """Takes an event in; its id, or `None` when it was dropped (raises in strict mode).

        `made_here`: fields that were made by this package, and so need no check.
        """
        try:
            prepared = self._prepared(event, made_here)
        except InvalidEventError as error:
            self._refuse(event, "invalid", error.violations[0])
            if self.options.strict or (captures and captures[-1].is_strict):
                raise
            return None
        if prepared is None:
            self._refuse(event, "before_send", None)
            return None
        event_id, payload = prepared
        if captures:
            captures[-1].take(json.loads(payload))
            return event_id
        if self.options.debug:
            sys.stderr.write(f"telemetry: {payload.decode()}\n")
        if not self.options.enabled:
            return None
        reason = self._put(Entry(event_id, payload))
        if not self.sender.is_started:
            self.sender.ensure()
        if reason is None:
            return event_id
        self._tell(Lost(reason, event_id, str(event.get("event_name"))))
        self._complain(f"events are dropped: {reason}")
        if self.options.strict:
            raise DroppedError(reason)
        return None

    def _put(self, entry: Entry) -> Optional[str]:
        if self.spool is not None and self.options.spool_writes == "call":
            return self.queue.put_on_disk(entry, self._write)
        return self.queue.put(entry)

    def _write(self, entry: Entry) -> bool:
        try:
            if self.spool is not None:
                self.spool.add([entry])
                return True
        except SpoolFullError:
            pass
        return False

    def _prepared(self, event: dict[str, Any], made_here: frozenset[str]) -> Optional[tuple[str, bytes]]:
        """The event's id and JSON; `None` when the hook dropped it. Raises `InvalidEventError`."""
        knows = made_here
        opaque = self._context_json if event["context"] is self.context else None
        if opaque is not None:
            # Valid by itself, see `_base_context`.
            del event["context"]
        elif self.options.before_send is not None:
            changed, knows = self._hooked(event), frozenset()
            if changed is None:
                return None
            event = changed
        if self._policy is not None:
            event = self._policy.apply(event)
        violations = check(event, knows=knows)
        payload = b""
        if not violations:
            payload = to_bytes(event)
            if opaque is not None:
                payload = payload[:-1] + opaque
            if len(payload) > MAX_EVENT_BYTES:
                violations = [too_large(len(payload))]
        if violations:
            raise InvalidEventError(violations)
        return event["event_id"], payload

    def _hooked(self, event: dict[str, Any]) -> Optional[dict[str, Any]]:
        """The event after `before_send`. A hook that fails may have been about to remove something: nothing is sent."""
        hook = self.options.before_send
        if hook is None:
            return event
        try:
            changed = hook(copy.deepcopy(event))
        except Exception as error:
            if self.options.strict:
                raise
            self._complain(f"events are dropped: before_send failed with {type(error).__name__}")
            return None
        if changed is None:
            return None
        kept = {"event_id": event["event_id"], **changed}
        return dict(plain(kept))

    def refuse(self, event_name: object, reason: str) -> None:
        """Accounts for a call of which no event could be made."""
        self.own()
        self._refuse({"event_name": event_name}, reason, None)

    def _refuse(self, event: dict[str, Any], reason: str, violation: Optional[Violation]) -> None:
        if not captures and self.options.enabled:
            self.queue.refuse(reason)
        name = event.get("event_name")
        event_id = event.get("event_id")
        lost = Lost(reason, str(event_id) if event_id else None, name if isinstance(name, str) else None)
        if violation is not None:
            lost = Lost(
                reason,
                lost.event_id,
                lost.event_name,
                violation.code,
                violation.path,
                violation.message,
                violation.hint,
            )
            self._complain(f"an event is dropped as invalid: {violation}")
        self._tell(lost)

    # -- what is told

    def _lost(self, entries: list[Entry], reason: str, refusal: Optional[Refusal]) -> None:
        """By the sender, and at the end."""
        if refusal is not None:
            words = f"{refusal.code} {refusal.path}: {refusal.message}"
            self._complain(f"the gateway rejected an event: {words}" + (f" ({refusal.hint})" if refusal.hint else ""))
        if self.options.on_drop is None:
            return
        for entry in entries:
            name = json.loads(entry.payload).get("event_name")
            if refusal is None:
                self._tell(Lost(reason, entry.event_id, name))
            else:
                self._tell(
                    Lost(reason, entry.event_id, name, refusal.code, refusal.path, refusal.message, refusal.hint)
                )

    def _tell(self, lost: Lost) -> None:
        if self.options.on_drop is None:
            return
        try:
            self.options.on_drop(lost)
        except Exception:
            _log.exception("telemetry: on_drop failed")

    def _complain(self, text: str) -> None:
        now = time.monotonic()
        if now >= self._complained.get(text, 0.0):
            if len(self._complained) > 100:
                self._complained.clear()
            self._complained[text] = now + _COMPLAIN_EVERY
            _log.warning("telemetry: %s", text)

    def complain_once(self, text: str) -> None:
        """Logs a hint for developers, seldom."""
        self._complain(text)

    # -- the end

    def flush(self, timeout: float) -> bool:
        """Sends what is there; True when every event so far has its fate."""
        if not self.options.enabled:
            return True
        if self.pid != os.getpid():
            self.own()
        self.sender.hurry()
        if self.sender.ensure():
            return self.queue.flush(timeout)
        ticket = self.queue.request_flush()
        self.sender.drain(time.monotonic() + timeout)
        return self.queue.is_settled(ticket)

    def close(self, timeout: Optional[float] = None) -> bool:
        """Sends what is there within the time, puts the rest on the disk or gives it up (then False)."""
        if not self.options.enabled:
            return True
        if self.pid != os.getpid():
            # Nothing was said in this process: what there is belongs to the parent.
            if self.spool is not None:
                self.spool.forget()
            lifecycle.unregister(self)
            return True
        with self._rebuild_lock:
            if self._is_closed:
                return True
            self._is_closed = True
        deadline = time.monotonic() + (self.options.exit_timeout if timeout is None else timeout)
        self.queue.close()
        self._finish(deadline)
        self.queue.stop()
        is_joined = self.sender.join(max(0.05, deadline - time.monotonic()))
        self.sender.park()
        lost = self.queue.abandon(self.sender.laid_in_memory(), "exit")
        if lost:
            _log.warning("telemetry: %d events could not be sent before the end and are lost", len(lost))
            self._lost(lost, "exit", None)
        if is_joined:
            self.transport.close()
            if self.spool is not None:
                self.spool.close()
        lifecycle.unregister(self)
        return not lost

    def _finish(self, deadline: float) -> None:
        ticket = self.queue.request_flush()
        if self.queue.is_settled(ticket):
            return
        self.sender.hurry()
        if not self.sender.ensure():
            self.sender.drain(deadline)
            return
        # With a disk there is nothing to wait for once the gateway is known to be away.
        self.queue.wait_settled(ticket, deadline, give_up=self._is_safe_on_disk)

    def _is_safe_on_disk(self) -> bool:
        return self.spool is not None and self.queue.waiting() == 0 and self.sender.is_failing()

    def stats(self) -> Stats:
        """The account of this process' events."""
        if self.pid != os.getpid():
            self.own()
        return self.queue.stats()


def make_transport(options: Options) -> Transport:
    """The transport that the URL asks for. Raises `ConfigurationError`."""
    if options.url.startswith("kafka://"):
        from .kafka import KafkaTransport  # noqa: PLC0415 – only where it is wanted is it installed

        return KafkaTransport.from_url(options.url)
    return HttpTransport(
        options.url,
        options.api_key,
        compress=options.gzip,
        ssl_context=options.ssl_context,
        user_agent=f"{LIBRARY['name']}/{VERSION}",
    )
