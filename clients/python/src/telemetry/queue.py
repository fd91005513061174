"""The bounded queue between the application's threads and the sender, and the account of every event.

One lock guards both, so that the sum is exact at every instant (`Stats.unaccounted` is always 0):

    created + recovered = queued + in_flight + spooled + accepted + duplicate + rejected + dropped

The lock is re-entrant: a signal handler that flushes may interrupt the very thread that holds it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Optional

WhenFull = Literal["drop", "block"]
#: `accepted`, `duplicate`, `rejected`, or the reason an event was given up.
Outcome = str


class Entry(NamedTuple):
    """An event on its way: its id, its JSON, and where it lies on disk (0: nowhere)."""

    event_id: str
    payload: bytes
    row: int = 0
    #: True for an event that another process left behind on disk.
    is_recovered: bool = False


@dataclass(frozen=True)
class Stats:
    """What became of every event of this process. All figures but the last four are numbers of events."""

    #: Calls that made an event, whatever became of it.
    created: int
    #: Taken over from the disk: left there by a process that ended.
    recovered: int
    #: In memory, waiting for their turn or for the next attempt.
    queued: int
    #: In the request that is being made.
    in_flight: int
    #: On disk, not yet answered.
    spooled: int
    #: Acknowledged by the gateway.
    accepted: int
    #: Acknowledged by the gateway, which had them already.
    duplicate: int
    #: Refused by the gateway for good; `on_drop` was told why.
    rejected: int
    #: Given up here; `on_drop` was told why.
    dropped: int
    #: `dropped` by reason.
    dropped_by: Mapping[str, int]
    #: Requests made, and how many of them were attempts after the first.
    requests: int
    retries: int
    #: Bytes of bodies sent, compressed.
    bytes_sent: int
    #: What went wrong last, without anybody's data; `None` after a success.
    last_error: Optional[str]

    @property
    def sent(self) -> int:
        """Events the gateway has answered for good."""
        return self.accepted + self.duplicate + self.rejected

    @property
    def pending(self) -> int:
        """Events whose fate is open."""
        return self.queued + self.in_flight + self.spooled

    @property
    def unaccounted(self) -> int:
        """0, always."""
        return self.created + self.recovered - self.pending - self.sent - self.dropped


@dataclass
class _Account:
    created: int = 0
    recovered: int = 0
    #: Taken from the inbox, waiting for the first or the next attempt.
    laid: int = 0
    spooled: int = 0
    in_flight: int = 0
    accepted: int = 0
    duplicate: int = 0
    rejected: int = 0
    dropped_by: dict[str, int] = field(default_factory=dict)
    requests: int = 0
    retries: int = 0
    bytes_sent: int = 0
    last_error: Optional[str] = None


class EventQueue:
    """Bounded by events and by bytes; what is in flight or waits for a retry still counts against the bounds."""

    def __init__(
        self,
        *,
        max_events: int,
        max_bytes: int,
        when_full: WhenFull = "drop",
        block_timeout: float = 1.0,
        batch_events: int = 500,
        batch_bytes: int = 512 * 1024,
        interval: float = 1.0,
    ) -> None:
        self._lock = threading.RLock()
        self._wake = threading.Condition(self._lock)
        self._changed = threading.Condition(self._lock)
        self._inbox: deque[Entry] = deque()
        self._account = _Account()
        self._max_events, self._max_bytes = max_events, max_bytes
        self._when_full, self._block_timeout = when_full, block_timeout
        self._batch_events, self._batch_bytes, self._interval = batch_events, batch_bytes, interval
        self._held = self._held_bytes = self._inbox_bytes = 0
        self._oldest_at = 0.0
        # Numbers of events in the order they came in: taken in, and settled up to.
        self._taken_in = self._moved = self._settled = self._flush_to = 0
        #: Something was put on the disk by a call since the sender last looked.
        self._has_rows = False
        self.is_closed = False
        self._is_stopping = False
        #: Identity of the sender's thread, which must never wait for itself.
        self.sender_thread: Optional[int] = None

    # -- the application's side

    def put(self, entry: Entry) -> Optional[str]:
        """Takes an event in; the reason when it is dropped instead."""
        size = len(entry.payload)
        with self._lock:
            is_full = self._held >= self._max_events or self._held_bytes + size > self._max_bytes
            has_room = not is_full or self._make_room(size)
            # Only now: while it waits for room, it is nowhere.
            self._account.created += 1
            if self.is_closed:
                return self._drop("closed")
            if not has_room:
                return self._drop("queue_full")
            inbox = self._inbox
            inbox.append(entry)
            waiting = len(inbox)
            self._held += 1
            self._held_bytes += size
            self._inbox_bytes += size
            self._taken_in += 1
            if waiting == 1:
                self._oldest_at = time.monotonic()
                self._wake.notify()
            elif waiting == self._batch_events or 0 <= self._inbox_bytes - self._batch_bytes < size:
                self._wake.notify()
        return None

    def _make_room(self, size: int) -> bool:
        """Waits for room where that is the policy. False: there is none."""
        self._wake.notify()
        if self._when_full != "block" or threading.get_ident() == self.sender_thread or size > self._max_bytes:
            return False
        deadline = time.monotonic() + self._block_timeout
        while self._held >= self._max_events or self._held_bytes + size > self._max_bytes:
            remaining = deadline - time.monotonic()
            if remaining <= 0 or self.is_closed:
                return False
            self._changed.wait(remaining)
        return not self.is_closed

    def has_room(self) -> bool:
        """True when an event would be taken in right now."""
        with self._lock:
            return self._held < self._max_events and self._held_bytes < self._max_bytes

    def put_on_disk(self, entry: Entry, write: Callable[[Entry], bool]) -> Optional[str]:
        """Takes an event in that `write` puts on the disk before this returns; in memory where that fails."""
        with self._lock:
            if self.is_closed or not write(entry):
                return self.put(entry)
            self._account.created += 1
            self._account.spooled += 1
            self._taken_in += 1
            self._moved += 1
            self._has_rows = True
            self._wake.notify()
        return None

    def refuse(self, reason: str) -> None:
        """Accounts for an event that never came in."""
        with self._lock:
            self._account.created += 1
            self._drop(reason)

    def _drop(self, reason: str, count: int = 1) -> str:
        by = self._account.dropped_by
        by[reason] = by.get(reason, 0) + count
        return reason

    def flush(self, timeout: float) -> bool:
        """Asks for everything taken in so far to be sent, and waits; True when all of it is settled."""
        deadline = time.monotonic() + timeout
        with self._lock:
            ticket = self._taken_in
            self._flush_to = max(self._flush_to, ticket)
            self._wake.notify()
            while self._settled < ticket:
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    return False
                self._changed.wait(remaining)
            return True

    def wait_settled(self, ticket: int, deadline: float, give_up: Callable[[], bool]) -> None:
        """Waits until the first `ticket` events are settled, the time (`time.monotonic`) is up or `give_up` says so."""
        with self._lock:
            while self._settled < ticket and not give_up():
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    return
                self._changed.wait(remaining)

    def is_flushing(self) -> bool:
        """True while somebody waits for what came in so far."""
        return self._settled < self._flush_to

    def request_flush(self) -> int:
        """Like `flush`, but does not wait; gives the number that must be settled."""
        with self._lock:
            self._flush_to = max(self._flush_to, self._taken_in)
            self._wake.notify()
            return self._taken_in

    def is_settled(self, ticket: int) -> bool:
        """True when the first `ticket` events are settled."""
        return self._settled >= ticket

    def close(self) -> None:
        """From now on events are dropped as `closed`."""
        with self._lock:
            self.is_closed = True
            self._changed.notify_all()

    def stop(self) -> None:
        """Tells the sender to end."""
        with self._lock:
            self._is_stopping = True
            self._wake.notify_all()

    # -- the sender's side

    def wait(self, not_before: Callable[[], float], *, has_backlog: bool, poll: Optional[float] = None) -> bool:
        """Waits until there is something to do; False when the sender is to end.

        `not_before`: nothing is done before this time (`time.monotonic`). `has_backlog`: there is something to send
        besides the inbox. `poll`: come back after so many seconds even so.
        """
        with self._lock:
            give_up = None if poll is None else time.monotonic() + poll
            while not self._is_stopping:
                now = time.monotonic()
                due = self._due(has_backlog)
                at = None if due is None else max(due, not_before())
                if at is not None and at <= now:
                    return True
                if give_up is not None:
                    if give_up <= now:
                        return True
                    at = give_up if at is None else min(at, give_up)
                self._wake.wait(None if at is None else at - now)
            return False

    def _due(self, has_backlog: bool) -> Optional[float]:
        """When there is next something to do, were sending allowed; `None`: when something comes in."""
        if has_backlog or self._has_rows or self._settled < self._flush_to:
            return 0.0
        waiting = len(self._inbox)
        if waiting >= self._batch_events or self._inbox_bytes >= self._batch_bytes:
            return 0.0
        return self._oldest_at + self._interval if waiting else None

    def take(self, max_events: int, max_bytes: int) -> list[Entry]:
        """The next events of the inbox, at least one when there is any."""
        taken: list[Entry] = []
        size = 0
        with self._lock:
            inbox = self._inbox
            while inbox and len(taken) < max_events:
                size += len(inbox[0].payload) + 1
                if taken and size > max_bytes:
                    break
                entry = inbox.popleft()
                self._inbox_bytes -= len(entry.payload)
                taken.append(entry)
            if inbox:
                # They have waited long enough by now.
                self._oldest_at = time.monotonic() - self._interval
            self._account.laid += len(taken)
            self._moved += len(taken)
        return taken

    def give_back(self, entries: list[Entry]) -> None:
        """Events that were taken and could not be spooled go back to the front."""
        with self._lock:
            self._inbox.extendleft(reversed(entries))
            self._inbox_bytes += sum(len(entry.payload) for entry in entries)
            self._account.laid -= len(entries)
            self._moved -= len(entries)

    def spooled(self, entries: list[Entry]) -> None:
        """Events that were taken are on disk now: they hold no memory any more."""
        with self._lock:
            self._account.laid -= len(entries)
            self._account.spooled += len(entries)
            self._let_go(entries)
            self._changed.notify_all()

    def recovered(self, count: int) -> None:
        """Events of other processes were found on disk."""
        with self._lock:
            self._account.recovered += count
            self._account.spooled += count

    def lift(self, entries: list[Entry]) -> None:
        """A request with these events is being made."""
        self._fly(entries, 1)

    def lay(self, entries: list[Entry]) -> None:
        """These events wait for their next attempt."""
        self._fly(entries, -1)

    def _fly(self, entries: list[Entry], sign: int) -> None:
        on_disk = sum(1 for entry in entries if entry.row)
        with self._lock:
            self._account.in_flight += sign * len(entries)
            self._account.spooled -= sign * on_disk
            self._account.laid -= sign * (len(entries) - on_disk)

    def settle(self, entries: list[Entry], outcome: Outcome) -> None:
        """Events in flight have their fate."""
        with self._lock:
            account = self._account
            account.in_flight -= len(entries)
            if outcome == "accepted":
                account.accepted += len(entries)
            elif outcome == "duplicate":
                account.duplicate += len(entries)
            elif outcome == "rejected":
                account.rejected += len(entries)
            else:
                self._drop(outcome, len(entries))
            self._let_go([entry for entry in entries if entry.row == 0])
            self._changed.notify_all()

    def _let_go(self, entries: list[Entry]) -> None:
        self._held -= len(entries)
        self._held_bytes -= sum(len(entry.payload) for entry in entries)

    def settled_but(self, still_spooled: int) -> None:
        """No request is open, and of the events of this process that went to the disk `still_spooled` lie there."""
        with self._lock:
            self._settled = max(self._settled, self._moved - still_spooled)
            self._has_rows = False
            self._changed.notify_all()

    def abandon(self, laid: list[Entry], reason: str) -> list[Entry]:
        """Gives up what is in the inbox, and what was laid by in memory; returns all of it."""
        with self._lock:
            entries = [*laid, *self._inbox]
            self._inbox.clear()
            self._inbox_bytes = 0
            self._account.laid -= len(laid)
            if entries:
                self._drop(reason, len(entries))
            self._let_go(entries)
            self._changed.notify_all()
            return entries

    def waiting(self) -> int:
        """Events in the inbox."""
        return len(self._inbox)

    # -- figures

    def count_request(self, size: int, *, is_retry: bool) -> None:
        """A request is made, with a body of `size` bytes."""
        with self._lock:
            self._account.requests += 1
            self._account.retries += is_retry
            self._account.bytes_sent += size

    def note_error(self, error: Optional[str]) -> None:
        """What went wrong last; `None`: nothing any more."""
        with self._lock:
            self._account.last_error = error
            self._changed.notify_all()

    def stats(self) -> Stats:
        """The account at this instant."""
        with self._lock:
            account = self._account
            return Stats(
                created=account.created,
                recovered=account.recovered,
                queued=len(self._inbox) + account.laid,
                in_flight=account.in_flight,
                spooled=account.spooled,
                accepted=account.accepted,
                duplicate=account.duplicate,
                rejected=account.rejected,
                dropped=sum(account.dropped_by.values()),
                dropped_by=dict(account.dropped_by),
                requests=account.requests,
                retries=account.retries,
                bytes_sent=account.bytes_sent,
                last_error=account.last_error,
            )
