"""Whatever the network does, every event has one known fate, arrives under one id, and the sums are exact."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.queue import Entry, EventQueue
from telemetry.retry import Backoff
from telemetry.sender import Pace, Sender
from telemetry.spool import Spool
from telemetry.verdict import Fate, Next, Refusal, Verdict, unreachable

#: One request's fate. `lost`: taken, but the answer did not arrive.
MISHAPS = ["ok", "down", "lost", "limited", "partly", "mixed", "suspect", "split", "smaller", "misconfigured", "raises"]


class Capricious:
    """A gateway with moods that remembers what it acknowledged. Events named `bad…` are refused by themselves."""

    def __init__(self, moods: list[str]) -> None:
        self.moods = moods
        self.taken: Counter[str] = Counter()
        self.acknowledged: set[str] = set()
        self.refused: set[str] = set()
        self.bytes_sent = 0

    def send(self, payloads: Sequence[bytes], timeout: float) -> Verdict:
        ids = [payload.decode() for payload in payloads]
        mood = self.moods.pop(0) if self.moods else "ok"
        if mood == "down":
            return unreachable("down")
        if mood == "raises":
            raise RuntimeError("out of memory, say")
        if mood == "limited":
            return Verdict(Next.LATER, retry_after=0.0, problem="429")
        if mood in ("suspect", "misconfigured"):
            return Verdict(Next(mood), problem=mood)
        if mood in ("split", "smaller") and len(ids) > 1:
            return Verdict(Next(mood), problem=mood)
        fates: dict[int, Fate] = {}
        refusals: dict[int, Refusal] = {}
        for index, event_id in enumerate(ids):
            if mood == "partly" and index % 2:
                continue
            if event_id.startswith("bad"):
                fates[index] = "rejected"
                refusals[index] = Refusal("bad")
                continue
            fates[index] = "duplicate" if event_id in self.taken else "accepted"
            self.taken[event_id] += 1
        if mood == "lost":
            return unreachable("the answer was cut off")
        self.acknowledged |= {ids[index] for index, fate in fates.items() if fate != "rejected"}
        self.refused |= {ids[index] for index in refusals}
        return Verdict(Next.DONE if len(fates) == len(ids) else Next.LATER, fates, refusals)

    def close(self) -> None:
        pass

    def forget(self) -> None:
        pass


def run(moods: list[str], events: list[str], batch: int, capacity: int, spool: Optional[Spool]) -> None:
    queue = EventQueue(max_events=capacity, max_bytes=10**6, batch_events=batch, interval=0.0)
    gateway = Capricious(list(moods))
    lost: Counter[str] = Counter()

    def on_loss(entries: list[Entry], _reason: str, _refusal: Optional[Refusal]) -> None:
        lost.update(entry.event_id for entry in entries)

    pace = Pace(batch, 10_000, interval=0.0, backoff=Backoff(first=0.0, longest=0.0, longest_asked=0.0))
    sender = Sender(queue, gateway, pace, on_loss, spool)
    refused_here = 0
    for number, event_id in enumerate(events):
        if queue.put(Entry(event_id, event_id.encode())) is not None:
            refused_here += 1
        if number % 3 == 2:
            sender._resume_at = 0.0
            sender.cycle()
            stats = queue.stats()
            assert stats.unaccounted == 0
            assert min(stats.queued, stats.in_flight, stats.spooled) >= 0
            assert stats.in_flight == 0, "between requests nothing is in flight"
    turns = 0
    while queue.stats().pending:
        sender._resume_at = 0.0
        sender.cycle()
        assert queue.stats().unaccounted == 0
        turns += 1
        assert turns < 2000, "it comes to an end"
    stats = queue.stats()
    assert stats.created == len(events)
    assert stats.dropped_by.get("queue_full", 0) == refused_here
    # Who was told a fate was told the truth, and everybody was told.
    assert stats.accepted + stats.duplicate == len(gateway.acknowledged)
    # A part alone that is refused as a whole counts as rejected, too; the events named bad always do.
    assert stats.rejected >= len(gateway.refused)
    assert sum(lost.values()) == stats.rejected + stats.dropped - refused_here
    assert set(lost).isdisjoint(gateway.acknowledged)
    assert max(lost.values(), default=1) == 1
    assert queue._held == 0
    assert queue._held_bytes == 0
    assert queue.flush(0.0)
    if spool is not None:
        assert len(spool) == 0
        assert spool.own == 0


_moods = st.lists(st.sampled_from(MISHAPS), max_size=25)
_names = st.lists(st.booleans(), min_size=1, max_size=40).map(
    lambda bad: [f"{'bad' if is_bad else 'ok'}-{number}" for number, is_bad in enumerate(bad)]
)


@settings(max_examples=300, deadline=None)
@given(_moods, _names, st.integers(1, 9), st.integers(5, 60))
def test_the_sum_is_exact_in_memory(moods: list[str], events: list[str], batch: int, capacity: int) -> None:
    run(moods, events, batch, capacity, None)


@settings(max_examples=60, deadline=None)
@given(_moods, _names, st.integers(1, 9))
def test_the_sum_is_exact_on_disk(moods: list[str], events: list[str], batch: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        spool = Spool(Path(folder), 10 * 1024 * 1024)
        run(moods, events, batch, 60, spool)
        spool.close()


def test_one_poisonous_event_costs_none_of_the_others() -> None:
    class Fragile(Capricious):
        def send(self, payloads: Sequence[bytes], timeout: float) -> Verdict:
            if b"poison" in payloads:
                return Verdict(Next.SUSPECT, problem="500")
            return super().send(payloads, timeout)

    queue = EventQueue(max_events=100, max_bytes=10**6, batch_events=50, interval=0.0)
    lost: list[tuple[str, str]] = []

    def on_loss(entries: list[Entry], reason: str, _refusal: Optional[Refusal]) -> None:
        lost.extend((entry.event_id, reason) for entry in entries)

    gateway = Fragile([])
    sender = Sender(queue, gateway, Pace(50, backoff=Backoff(first=0.0, longest=0.0)), on_loss)
    for number in range(50):
        name = "poison" if number == 17 else f"ok-{number}"
        queue.put(Entry(name, name.encode()))
    for _ in range(200):
        sender._resume_at = 0.0
        sender.cycle()
    stats = queue.stats()
    assert (stats.accepted, stats.dropped_by, stats.pending) == (49, {"poison": 1}, 0)
    assert lost == [("poison", "poison")]
    assert set(gateway.taken.values()) == {1}
