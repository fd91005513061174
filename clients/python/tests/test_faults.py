"""The real gateway behind a bad network: every event is delivered exactly once by its id, and the sums are exact."""

from __future__ import annotations

import random
import threading
import uuid
from collections import Counter
from typing import Any

import pytest

from telemetry import TelemetryClient

from .gateway import Gateway
from .proxy import FAULTS, FaultyProxy
from .waiting import until


def connect(url: str, **options: Any) -> TelemetryClient:
    settings: dict[str, Any] = {"timeout": 0.7, "max_backoff": 0.05, "batch_events": 50, "flush_interval": 0.05}
    return TelemetryClient(url, **{**settings, **options})


def prefix() -> str:
    return f"u-{uuid.uuid4().hex[:12]}-"


def exactly_once(gateway: Gateway, users: str, ids: list[str]) -> None:
    rows = gateway.delivered(users, len(ids))
    assert set(rows) == set(ids)
    assert max(rows.values()) == 1


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "pass"])
def test_one_fault_costs_no_event_and_doubles_none(fault: str, gateway: Gateway, proxy: FaultyProxy) -> None:
    users = prefix()
    proxy.script = [fault] * 2 if fault != "slow" else [fault]
    ours = connect(proxy.url, timeout=5.0 if fault == "slow" else 0.7)
    ids = [str(ours.track("x", user_id=f"{users}{number}", properties={"n": number})) for number in range(120)]
    assert ours.flush(30)
    stats = ours.stats()
    assert proxy.done[fault] >= 1
    assert stats.accepted + stats.duplicate == stats.created == 120
    assert stats.unaccounted == stats.rejected == stats.dropped == stats.pending == 0
    if fault != "slow":
        assert stats.retries >= 1
    ours.close()
    exactly_once(gateway, users, ids)


def test_a_storm_of_faults_costs_no_event_and_doubles_none(gateway: Gateway, proxy: FaultyProxy) -> None:
    users, dice = prefix(), random.Random(20261123)
    proxy.script = [dice.choice(FAULTS) for _ in range(40)]
    proxy.retry_after, proxy.stall = "0", 5.0
    ours = connect(proxy.url, timeout=0.4, when_full="block", block_timeout=30, max_queue_events=500)
    ids: list[str] = []
    lock = threading.Lock()

    def write(writer: int) -> None:
        for number in range(400):
            event_id = ours.track("x", user_id=f"{users}{writer}-{number}", properties={"n": number})
            with lock:
                ids.append(str(event_id))

    writers = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in writers:
        thread.start()
    while any(thread.is_alive() for thread in writers):
        assert ours.stats().unaccounted == 0
    assert ours.flush(60)
    stats = ours.stats()
    assert stats.accepted + stats.duplicate == stats.created == 1600
    assert stats.unaccounted == stats.dropped == stats.rejected == 0
    ours.close()
    exactly_once(gateway, users, ids)


def test_a_bad_event_among_good_ones_is_named_and_costs_nothing_else(gateway: Gateway) -> None:
    users, lost = prefix(), []
    ours = connect(gateway.url, on_drop=lost.append)
    ids = [str(ours.track("x", user_id=f"{users}{number}")) for number in range(20)]
    old = ours.track("x", user_id=f"{users}old", timestamp="2001-01-01T00:00:00Z")
    assert ours.flush(30)
    stats = ours.stats()
    assert (stats.accepted + stats.duplicate, stats.rejected, stats.unaccounted) == (20, 1, 0)
    assert [(one.event_id, one.code, one.path) for one in lost] == [(old, "timestamp_too_old", "/timestamp")]
    ours.close()
    exactly_once(gateway, users, ids)


def test_retry_after_is_waited_for(gateway: Gateway, proxy: FaultyProxy) -> None:
    import time

    proxy.script = ["429"]
    ours = connect(proxy.url)
    ours.track("x", user_id=prefix())
    started = time.monotonic()
    assert ours.flush(30)
    assert time.monotonic() - started >= 0.9, "the gateway asked for a second"
    ours.close()


def test_an_outage_is_ridden_out_on_disk(gateway: Gateway, proxy: FaultyProxy, tmp_path: Any) -> None:
    users = prefix()
    proxy.script = ["502"] * 1000
    ours = connect(proxy.url, spool=tmp_path, max_queue_events=200, when_full="block", block_timeout=30)
    ids = [str(ours.track("x", user_id=f"{users}{number:04}")) for number in range(2000)]
    until(lambda: ours.stats().spooled == 2000, "ten times what fits into memory is on disk")
    assert ours.stats().accepted == 0
    proxy.script = []
    assert ours.flush(60)
    stats = ours.stats()
    assert (stats.accepted + stats.duplicate, stats.spooled, stats.unaccounted) == (2000, 0, 0)
    ours.close()
    assert list(tmp_path.iterdir()) == []
    exactly_once(gateway, users, ids)


def test_a_clock_that_is_off_is_corrected_by_sent_at(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    users = prefix()
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() - 3600 * 10**9)
    ours = connect(gateway.url)
    ours.track("x", user_id=users)
    assert ours.flush(30)
    ours.close()
    monkeypatch.undo()
    event = gateway.tail(users)[0]
    assert event["original_timestamp"] < event["timestamp"]
    assert event["timestamp"][:13] == event["received_at"][:13] or event["timestamp"][:10] != event["received_at"][:10]


def test_what_the_gateway_says_of_each_event_adds_up(gateway: Gateway) -> None:
    users = prefix()
    ours = connect(gateway.url)
    ids = Counter(
        str(ours.track("x", user_id=f"{users}{number}", event_id=f"{users}{number % 10}")) for number in range(30)
    )
    assert ours.flush(30)
    stats = ours.stats()
    assert stats.accepted + stats.duplicate == sum(ids.values()) == 30
    ours.close()
