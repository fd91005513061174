"""The queue is bounded, and its account is exact at every instant."""

from __future__ import annotations

import threading
import time

from telemetry.queue import Entry, EventQueue

from .waiting import until


def queue(**options: object) -> EventQueue:
    settings: dict[str, object] = {"max_events": 10, "max_bytes": 10_000, "batch_events": 5, "interval": 60.0}
    return EventQueue(**{**settings, **options})  # type: ignore[arg-type]


def entry(number: int, size: int = 10) -> Entry:
    return Entry(f"e{number}", b"x" * size)


def test_the_newest_is_dropped_when_it_is_full() -> None:
    full = queue()
    reasons = [full.put(entry(number)) for number in range(12)]
    assert reasons == [None] * 10 + ["queue_full"] * 2
    stats = full.stats()
    assert (stats.created, stats.queued, stats.dropped, stats.dropped_by) == (12, 10, 2, {"queue_full": 2})
    assert [one.event_id for one in full.take(100, 10**6)] == [f"e{number}" for number in range(10)]


def test_bytes_are_bounded_too() -> None:
    full = queue(max_bytes=100)
    assert full.put(entry(1, 90)) is None
    assert full.put(entry(2, 20)) == "queue_full"
    assert full.put(entry(3, 10)) is None


def test_what_is_in_flight_still_takes_room() -> None:
    full = queue()
    for number in range(10):
        full.put(entry(number))
    taken = full.take(10, 10**6)
    full.lift(taken)
    assert full.put(entry(10)) == "queue_full"
    full.settle(taken, "accepted")
    assert full.put(entry(11)) is None


def test_blocking_waits_for_room_and_no_longer_than_it_may() -> None:
    full = queue(when_full="block", block_timeout=0.1)
    for number in range(10):
        full.put(entry(number))
    started = time.monotonic()
    assert full.put(entry(10)) == "queue_full"
    assert 0.1 <= time.monotonic() - started < 2
    patient = queue(when_full="block", block_timeout=20.0)
    for number in range(10):
        patient.put(entry(number))
    results: list[object] = []
    waiting = threading.Thread(target=lambda: results.append(patient.put(entry(10))))
    waiting.start()
    taken = patient.take(5, 10**6)
    patient.lift(taken)
    patient.settle(taken, "accepted")
    waiting.join(20)
    assert results == [None]
    assert patient.stats().unaccounted == 0


def test_closing_frees_whoever_waits_for_room() -> None:
    full = queue(when_full="block", block_timeout=60.0)
    for number in range(10):
        full.put(entry(number))
    results: list[object] = []
    waiting = threading.Thread(target=lambda: results.append(full.put(entry(10))))
    waiting.start()
    until(lambda: full._changed._waiters, "the call waits")  # type: ignore[attr-defined]
    assert full.stats().unaccounted == 0
    full.close()
    waiting.join(20)
    assert results == ["closed"]


def test_the_sender_never_waits_for_itself() -> None:
    full = queue(when_full="block", block_timeout=60.0)
    full.sender_thread = threading.get_ident()
    for number in range(10):
        full.put(entry(number))
    assert full.put(entry(10)) == "queue_full"


def test_a_request_is_due_by_count_by_bytes_and_by_time() -> None:
    by_count = queue()
    assert by_count._due(has_backlog=False) is None
    by_count.put(entry(1))
    due = by_count._due(has_backlog=False)
    assert due is not None
    assert due > time.monotonic() + 30
    for number in range(4):
        by_count.put(entry(number))
    assert by_count._due(has_backlog=False) == 0.0
    by_bytes = queue(batch_bytes=15)
    by_bytes.put(entry(1))
    by_bytes.put(entry(2))
    assert by_bytes._due(has_backlog=False) == 0.0
    by_time = queue(interval=0.01)
    by_time.put(entry(1))
    assert by_time.wait(lambda: 0.0, has_backlog=False)


def test_a_flush_waits_for_all_that_came_before_it_and_for_nothing_else() -> None:
    busy = queue()
    busy.put(entry(1))
    results: list[bool] = []
    waiting = threading.Thread(target=lambda: results.append(busy.flush(20)))
    waiting.start()
    assert busy.wait(lambda: 0.0, has_backlog=False), "somebody waits, so it is due"
    taken = busy.take(10, 10**6)
    busy.put(entry(2))
    busy.lift(taken)
    busy.settle(taken, "accepted")
    assert not results
    busy.settled_but(0)
    waiting.join(20)
    assert results == [True]
    assert busy.stats().queued == 1


def test_the_account_is_exact_while_many_threads_write() -> None:
    crowded = queue(max_events=50)
    stop = threading.Event()
    wrong: list[int] = []

    def write() -> None:
        for number in range(3000):
            crowded.put(entry(number))

    def watch() -> None:
        while not stop.is_set():
            wrong.extend([crowded.stats().unaccounted] if crowded.stats().unaccounted else [])

    writers = [threading.Thread(target=write) for _ in range(8)]
    watcher = threading.Thread(target=watch)
    for thread in (*writers, watcher):
        thread.start()
    while any(thread.is_alive() for thread in writers):
        taken = crowded.take(7, 10**6)
        crowded.lift(taken)
        crowded.settle(taken[:3], "accepted")
        crowded.settle(taken[3:5], "rejected")
        crowded.settle(taken[5:], "poison")
    stop.set()
    watcher.join(20)
    stats = crowded.stats()
    assert not wrong
    assert stats.created == 24_000
    assert stats.unaccounted == 0
