"""From the client to the gateway: connections, answers, a full queue, the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from telemetry import (
    DroppedError,
    Lost,
    TelemetryClient,
)

from .stub import StubGateway, accepted
from .waiting import until


def client(**options: Any) -> TelemetryClient:
    return TelemetryClient("http://127.0.0.1:9", **options)


def test_one_connection_carries_all_requests_compressed(stub: StubGateway) -> None:
    with TelemetryClient(stub.url, batch_events=100) as ours:
        for number in range(1000):
            ours.track("x", user_id="u", properties={"n": number})
        assert ours.flush()
        stats = ours.stats()
    assert [event["properties"]["n"] for event in stub.events] == list(range(1000))
    assert stub.connections == 1
    assert {request["headers"].get("content-encoding") for request in stub.requests} == {"gzip"}
    assert stats.requests == len(stub.requests) >= 10
    assert stats.bytes_sent == sum(request["size"] for request in stub.requests)


def test_a_connection_that_was_closed_while_idle_is_no_failure(stub: StubGateway) -> None:
    stub.keep_alive = False
    with TelemetryClient(stub.url) as ours:
        for number in range(5):
            ours.track("x", user_id="u", properties={"n": number})
            assert ours.flush(10)
        stats = ours.stats()
    assert (stats.accepted, stats.retries) == (5, 0)
    assert set(stub.ids().values()) == {1}


def test_a_few_events_wait_for_each_other_and_a_crowd_does_not(stub: StubGateway) -> None:
    with TelemetryClient(stub.url, flush_interval=60, batch_events=10) as ours:
        for _ in range(9):
            ours.track("x", user_id="u")
        assert not stub.requests
        ours.track("x", user_id="u")
        until(lambda: len(stub.events) == 10, "a full batch goes at once")
        assert len(stub.requests) == 1


def test_refused_events_are_told_with_the_gateways_words(stub: StubGateway) -> None:
    def refuse(events: list[dict[str, Any]]) -> Any:
        bad = [n for n, event in enumerate(events) if event["event_name"] == "bad"]
        results = [
            {
                "index": n,
                "status": "rejected",
                "code": "unplanned_event",
                "path": "/event_name",
                "message": "m",
                "hint": "h",
            }
            for n in bad
        ]
        status, headers, page = accepted(len(events) - len(bad), results=results)
        return 207 if bad else status, headers, page

    stub.respond = refuse
    lost: list[Lost] = []
    with TelemetryClient(stub.url, on_drop=lost.append) as ours:
        ours.track("good", user_id="u")
        bad = ours.track("bad", user_id="u")
        assert ours.flush()
        stats = ours.stats()
    assert (stats.accepted, stats.rejected) == (1, 1)
    assert lost == [Lost("rejected", bad, "bad", "unplanned_event", "/event_name", "m", "h")]


def test_a_wrong_key_loses_nothing(stub: StubGateway, caplog: pytest.LogCaptureFixture) -> None:
    stub.respond = lambda _events: (401, {}, b'{"code":"key_unknown","message":"this API key is not known"}')
    with TelemetryClient(stub.url, max_backoff=0.05) as ours:
        ours.track("x", user_id="u")
        until(lambda: ours.stats().requests >= 2, "it tries again")
        assert ours.stats().pending == 1
        assert "key_unknown" in (ours.stats().last_error or "")
        stub.respond = None
        assert ours.flush(20)
    assert len(stub.events) == 1
    assert "until this is put right" in caplog.text


def test_a_full_queue_is_told(stub: StubGateway) -> None:
    lost: list[Lost] = []
    ours = client(max_queue_events=5, on_drop=lost.append)
    ids = [ours.track("x", user_id="u") for _ in range(8)]
    assert ids[5:] == [None] * 3
    assert [one.reason for one in lost] == ["queue_full"] * 3
    strict = client(max_queue_events=1, strict=True)
    strict.track("x", user_id="u")
    with pytest.raises(DroppedError, match="queue_full"):
        strict.track("x", user_id="u")


def test_after_the_end_events_are_dropped_as_closed(stub: StubGateway) -> None:
    ours = TelemetryClient(stub.url)
    ours.track("x", user_id="u")
    assert ours.close()
    assert ours.close()
    assert ours.track("late", user_id="u") is None
    assert ours.stats().dropped_by == {"closed": 1}
    assert len(stub.events) == 1


def test_closing_gives_up_in_time_and_says_what_was_lost() -> None:
    lost: list[Lost] = []
    ours = client(on_drop=lost.append, exit_timeout=0.3)
    for _ in range(7):
        ours.track("x", user_id="u")
    assert ours.close() is False
    assert ours.stats().dropped_by == {"exit": 7}
    assert ours.stats().unaccounted == 0
    assert {one.reason for one in lost} == {"exit"}


def test_with_a_spool_closing_does_not_wait_for_a_gateway_that_is_away(stub: StubGateway, tmp_path: Path) -> None:
    ours = client(spool=tmp_path, exit_timeout=60)
    for _ in range(7):
        ours.track("x", user_id="u")
    assert ours.close() is True
    assert (ours.stats().spooled, ours.stats().dropped) == (7, 0)
    with TelemetryClient(stub.url, spool=tmp_path) as heir:
        until(lambda: len(stub.events) == 7, "what was left behind is sent by itself")
        assert heir.flush()
        assert (heir.stats().recovered, heir.stats().accepted, heir.stats().created) == (7, 7, 0)


def test_where_no_thread_can_be_started_any_more_the_caller_sends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As at the end of an interpreter from Python 3.12 on.
    import threading

    def refuses(_: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuses)
    ours = TelemetryClient("http://127.0.0.1:9")
    sent: list[int] = []
    monkeypatch.setattr(
        ours._pipeline.transport, "send", lambda payloads, timeout: sent.append(len(payloads)) or _done(payloads)
    )
    ours.track("x", user_id="u")
    assert ours.flush(5)
    ours.track("y", user_id="u")
    assert ours.close()
    assert sent == [1, 1]
    assert (ours.stats().accepted, ours.stats().unaccounted) == (2, 0)


def _done(payloads: Any) -> Any:
    from telemetry.verdict import Next, Verdict

    return Verdict(Next.DONE, dict.fromkeys(range(len(payloads)), "accepted"))
