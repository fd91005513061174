"""The sender: one daemon thread that takes events from the queue (or the disk) to the transport, and sees to it that
each gets its fate."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Optional

from .queue import Entry, EventQueue
from .retry import Backoff
from .spool import Spool, SpoolFullError
from .transport import Transport
from .verdict import Next, Refusal, Verdict

_log = logging.getLogger("telemetry")

#: A request that the gateway fails on (500) is sent whole so many times, then in parts.
_SUSPECT_ATTEMPTS = 3
#: One event alone that the gateway fails on so many times is given up.
_POISON_ATTEMPTS = 10
#: Files of processes that ended are looked for this often, in seconds.
_RECOVER_EVERY = 60.0
#: A full disk is tried again after so many seconds.
_DISK_AGAIN = 1.0
#: The same complaint is logged at most this often, in seconds.
_COMPLAIN_EVERY = 60.0

#: Told about every event that is given up: its entry, the reason, and the gateway's words where there are any.
OnLoss = Callable[[list[Entry], str, Optional[Refusal]], None]


@dataclass(frozen=True)
class Pace:
    """How much is sent at a time, and how long that may take (seconds)."""

    batch_events: int = 500
    batch_bytes: int = 512 * 1024
    timeout: float = 10.0
    #: With a disk: events lie there at most so long before they are sent.
    interval: float = 1.0
    backoff: Backoff = field(default_factory=Backoff)


@dataclass(frozen=True)
class _Part:
    """Events that go, or go again, in one request."""

    entries: list[Entry]
    attempts: int = 0
    #: How often the gateway failed on these very events.
    suspicions: int = 0


class Sender:
    """Everything it holds belongs to its thread; `drain` may stand in for the thread when that cannot run."""

    def __init__(
        self, queue: EventQueue, transport: Transport, pace: Pace, on_loss: OnLoss, spool: Optional[Spool] = None
    ) -> None:
        self._queue, self._transport, self._pace, self._on_loss, self._spool = queue, transport, pace, on_loss, spool
        self._parts: deque[_Part] = deque()
        self._batch_bytes = pace.batch_bytes
        self._failures = 0
        self._resume_at = 0.0
        #: The pause was asked for by the gateway: `hurry` does not cut it short.
        self._is_asked = False
        self._recover_at = 0.0
        #: With a disk: what came in lies there, not in memory because the disk is full.
        self._is_on_disk = True
        self._disk_at = 0.0
        self._spool_due_at = 0.0
        self._complained: dict[str, float] = {}
        self._thread: Optional[threading.Thread] = None
        # Re-entrant: a signal may come while the thread is being started.
        self._start_lock = threading.RLock()
        self._cannot_start = False
        self.is_started = False

    # -- the thread

    def ensure(self) -> bool:
        """Starts the thread unless it runs; False when the interpreter is ending and no thread can be started."""
        if self._thread is not None:
            return self._thread.is_alive()
        with self._start_lock:
            if self._thread is None and not self._cannot_start:
                thread = threading.Thread(target=self._run, name="telemetry-sender", daemon=True)
                try:
                    thread.start()
                    self._thread = thread
                    self.is_started = True
                except RuntimeError:
                    self._cannot_start = True
        return self._thread is not None

    def is_running(self) -> bool:
        """True while the thread lives."""
        return self._thread is not None and self._thread.is_alive()

    def is_failing(self) -> bool:
        """True when the last request failed."""
        return self._failures > 0

    def join(self, timeout: float) -> bool:
        """Waits for the thread to end after `EventQueue.stop`; True when it has."""
        if self._thread is None or self._thread is threading.current_thread():
            return True
        self._thread.join(max(0.0, timeout))
        return not self._thread.is_alive()

    def _run(self) -> None:
        self._queue.sender_thread = threading.get_ident()
        while self._queue.wait(self._next_at, has_backlog=self._has_backlog(), poll=self._poll()):
            try:
                self.cycle()
            except Exception:
                # Nothing above should raise; if it does, events must not be stuck for good.
                _log.exception("telemetry: the sender failed; it goes on")
                self._pause(None)

    def _next_at(self) -> float:
        # With a disk, what comes in is written at once, whatever the gateway does.
        is_for_disk = self._spool is not None and self._queue.waiting()
        return min(self._resume_at, self._disk_at) if is_for_disk else self._resume_at

    def _has_backlog(self) -> bool:
        return bool(self._parts) or self._is_spool_due()

    def _is_spool_due(self) -> bool:
        """True when enough lies on the disk for a request, or for long enough."""
        if self._spool is None or not self._spool.has_more():
            return False
        is_enough = self._spool.not_given() >= self._pace.batch_events or self._queue.is_flushing()
        return is_enough or time.monotonic() >= self._spool_due_at

    def _poll(self) -> Optional[float]:
        if self._spool is None:
            return None
        at = self._recover_at
        if self._spool.has_more():
            at = min(at, max(self._spool_due_at, self._resume_at))
        return max(0.005, at - time.monotonic())

    # -- one turn

    def cycle(self) -> None:
        """Does what there is to do now: at most one request."""
        if self._spool is not None:
            self._to_disk(self._spool)
        if time.monotonic() >= self._resume_at and (self._spool is None or self._has_backlog() or not self._is_on_disk):
            part = self._next_part()
            if part is not None:
                self._send(part)
        if not self._parts:
            self._queue.settled_but(self._spool.own if self._spool is not None else 0)

    def hurry(self) -> None:
        """Somebody waits for the events: a pause of our own making ends now."""
        if not self._is_asked:
            self._resume_at = 0.0

    def drain(self, deadline: float) -> None:
        """Sends in the calling thread until nothing is left or the time (`time.monotonic`) is up."""
        while time.monotonic() < deadline:
            if not self._parts and not self._queue.waiting() and (self._spool is None or not self._spool.has_more()):
                self._queue.settled_but(0)
                return
            wait = self._resume_at - time.monotonic()
            if wait > 0:
                if time.monotonic() + wait >= deadline:
                    return
                time.sleep(wait)
            self.cycle()

    def park(self) -> None:
        """The end: what can be put on the disk is, whatever its turn would have been."""
        while self._spool is not None and self._queue.waiting() and self._to_disk(self._spool):
            pass

    def laid_in_memory(self) -> list[Entry]:
        """Events that wait for their next attempt and are on no disk."""
        return [entry for part in self._parts for entry in part.entries if entry.row == 0]

    def _to_disk(self, spool: Spool) -> bool:
        if time.monotonic() >= self._recover_at:
            self._recover_at = time.monotonic() + _RECOVER_EVERY
            for count in spool.recover():
                self._queue.recovered(count)
        if time.monotonic() < self._disk_at:
            return False
        was_empty = not spool.has_more()
        entries = self._queue.take(2500, 4 * 1024 * 1024)
        if not entries:
            return False
        try:
            spool.add(entries)
        except SpoolFullError as error:
            self._queue.give_back(entries)
            self._complain(f"events stay in memory: {error}")
            self._is_on_disk, self._disk_at = False, time.monotonic() + _DISK_AGAIN
            return False
        self._is_on_disk, self._disk_at = True, 0.0
        if was_empty:
            self._spool_due_at = time.monotonic() + self._pace.interval
        self._queue.spooled(entries)
        return True

    def _next_part(self) -> Optional[_Part]:
        if self._parts:
            return self._parts.popleft()
        entries = self._spool.take(self._pace.batch_events, self._batch_bytes) if self._spool is not None else []
        if not entries:
            # Also what found no room on the disk.
            entries = self._queue.take(self._pace.batch_events, self._batch_bytes)
        return _Part(entries) if entries else None

    def _send(self, part: _Part) -> None:
        self._queue.lift(part.entries)
        payloads = [entry.payload for entry in part.entries]
        try:
            verdict = self._transport.send(payloads, self._pace.timeout)
        except Exception as error:
            verdict = Verdict(Next.SUSPECT, problem=f"the transport failed: {type(error).__name__}")
        self._queue.count_request(self._transport.bytes_sent, is_retry=part.attempts > 0)
        self._apply(part, verdict)
        self._queue.note_error(verdict.problem)

    # -- what an answer leads to

    def _apply(self, part: _Part, verdict: Verdict) -> None:
        by_fate: dict[str, list[Entry]] = {}
        left: list[Entry] = []
        for index, entry in enumerate(part.entries):
            fate = verdict.fates.get(index)
            (left if fate is None else by_fate.setdefault(fate, [])).append(entry)
        for outcome, entries in by_fate.items():
            self._settle(entries, outcome)
        if verdict.fates and by_fate.get("rejected"):
            for index, refusal in verdict.refusals.items():
                self._on_loss([part.entries[index]], "rejected", refusal)
        if left:
            part = replace(part, entries=left, attempts=part.attempts + 1)
        if verdict.next is Next.DONE or not left:
            self._failures, self._resume_at, self._is_asked = 0, 0.0, False
            return
        self._again(part, verdict)

    def _again(self, part: _Part, verdict: Verdict) -> None:
        is_alone = len(part.entries) == 1
        if verdict.next in (Next.SPLIT, Next.SMALLER):
            if is_alone:
                self._give_up(part, "rejected", verdict.refusals.get(0))
                return
            if verdict.next is Next.SMALLER:
                size = sum(len(entry.payload) for entry in part.entries)
                self._batch_bytes = max(1, min(self._batch_bytes, size // 2))
            self._lay(*_halves(part))
            return
        if verdict.next is Next.SUSPECT:
            part = replace(part, suspicions=part.suspicions + 1)
            if is_alone and part.suspicions >= _POISON_ATTEMPTS:
                self._give_up(part, "poison", None)
                return
            if not is_alone and part.suspicions >= _SUSPECT_ATTEMPTS:
                self._lay(*_halves(part))
                self._pause(verdict)
                return
        if verdict.next is Next.MISCONFIGURED:
            self._complain(f"events are kept, but the gateway refuses them until this is put right: {verdict.problem}")
        else:
            self._complain(f"events are kept and sent again: {verdict.problem}", logging.WARNING)
        self._lay(part)
        self._pause(verdict)

    def _lay(self, *parts: _Part) -> None:
        """Puts parts in front, in their order."""
        for part in reversed(parts):
            self._queue.lay(part.entries)
            self._parts.appendleft(part)

    def _give_up(self, part: _Part, reason: str, refusal: Optional[Refusal]) -> None:
        self._settle(part.entries, reason)
        self._on_loss(part.entries, reason, refusal)

    def _settle(self, entries: list[Entry], outcome: str) -> None:
        on_disk = [entry for entry in entries if entry.row]
        if on_disk and self._spool is not None:
            self._spool.remove(on_disk)
        self._queue.settle(entries, outcome)

    def _pause(self, verdict: Optional[Verdict]) -> None:
        self._failures += 1
        asked = verdict.retry_after if verdict is not None else None
        self._is_asked = asked is not None
        delay = self._pace.backoff.delay(self._failures, asked, random.random)
        if verdict is not None and verdict.next is Next.MISCONFIGURED:
            delay = max(delay, min(5.0, self._pace.backoff.longest))
        self._resume_at = time.monotonic() + delay

    def _complain(self, text: str, level: int = logging.ERROR) -> None:
        now = time.monotonic()
        if now >= self._complained.get(text, 0.0):
            if len(self._complained) > 100:
                self._complained.clear()
            self._complained[text] = now + _COMPLAIN_EVERY
            _log.log(level, "telemetry: %s", text)


def _halves(part: _Part) -> tuple[_Part, _Part]:
    middle = len(part.entries) // 2
    first, second = part.entries[:middle], part.entries[middle:]
    return _Part(first, part.attempts), _Part(second, part.attempts)
