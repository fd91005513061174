"""The methods of the client: what each sends, and that none harms its host."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import decimal
import enum
import logging
import uuid
from pathlib import Path
from typing import Any

import pytest

from telemetry import (
    MASK_DETECTED,
    AsyncTelemetryClient,
    ConfigurationError,
    CustomMilestone,
    DroppedError,
    InvalidEventError,
    Lost,
    NullClient,
    TelemetryClient,
    TelemetryError,
)
from telemetry.testing import CapturedEvents, capture

from .stub import StubGateway, accepted
from .waiting import until


def client(**options: Any) -> TelemetryClient:
    return TelemetryClient("http://127.0.0.1:9", **options)


# -- what is sent


def test_without_arguments_it_goes_by_the_environment(stub: StubGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    assert TelemetryClient().options.url == "http://localhost:8080"
    monkeypatch.setenv("TELEMETRY_URL", stub.url)
    monkeypatch.setenv("TELEMETRY_API_KEY", "k-1")
    with TelemetryClient() as ours:
        assert ours.track("signup", user_id="u")
    request = stub.requests[0]
    assert request["headers"]["authorization"] == "Bearer k-1"
    assert stub.events[0]["event_name"] == "signup"
    assert set(request["batch"]) == {"events", "sent_at"}


def test_every_method_sends_a_valid_event(telemetry_events: CapturedEvents) -> None:
    ours = client(context={"release": "1.2"})
    ours.track("project_created", user_id=7, properties={"plan": "pro"}, session_id="s", journey_id="j")
    ours.track_ttf_milestone("first_project_created", user_id="u")
    ours.identify("u", {"company_size": 3})
    ours.group("u", "g", {"name": "G"})
    ours.page("Pricing", anonymous_id="a", url="/pricing")
    ours.performance("search", 12.5, http_status=200)
    ours.error(ValueError("private"), operation="search")
    ours.error("Timeout", "took too long")
    kinds = [event["event_type"] for event in telemetry_events]
    assert kinds == ["track", "ttf_milestone", "identify", "group", "page", "performance", "error", "error"]
    first = telemetry_events[0]
    assert (first["user_id"], first["session_id"], first["journey_id"]) == ("7", "s", "j")
    assert first["context"]["release"] == "1.2"
    assert first["context"]["library"]["name"] == "ttf-telemetry-python"
    assert telemetry_events[3]["properties"] == {"name": "G", "group_id": "g"}
    assert telemetry_events[4]["properties"] == {"name": "Pricing", "url": "/pricing"}
    assert telemetry_events[6]["properties"] == {
        "error_type": "ValueError", "handled": True, "severity": "error", "operation": "search",
    }  # fmt: skip
    assert telemetry_events[7]["properties"]["message"] == "took too long"


def test_ids_are_uuid7s_of_the_moment(telemetry_events: CapturedEvents) -> None:
    ours = client()
    ids = [ours.track("x", user_id="u") for _ in range(1000)]
    assert len(set(ids)) == 1000
    for event_id in ids:
        parsed = uuid.UUID(event_id)
        assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    made = datetime.datetime.fromtimestamp((uuid.UUID(ids[0]).int >> 80) / 1000, datetime.timezone.utc)
    assert abs(datetime.datetime.now(datetime.timezone.utc) - made) < datetime.timedelta(minutes=1)


def test_times_may_be_stated_in_every_usual_way(telemetry_events: CapturedEvents) -> None:
    ours = client()
    zone = datetime.timezone(datetime.timedelta(hours=2))
    for stated in (datetime.datetime(2026, 1, 2, 5, 4, 5, 678_000, zone), "2026-01-02T03:04:05.678Z", 1767323045.678):
        ours.track("x", user_id="u", timestamp=stated)
    assert [event["timestamp"] for event in telemetry_events] == ["2026-01-02T03:04:05.678Z"] * 3


def test_what_applications_put_into_properties_becomes_json(telemetry_events: CapturedEvents) -> None:
    class Plan(enum.Enum):
        PRO = "pro"

    @dataclasses.dataclass
    class Size:
        width: int

    class Secretive:
        def __repr__(self) -> str:
            raise AssertionError("nobody asked for this")

    given: dict[Any, Any] = {
        "enum": Plan.PRO,
        "uuid": uuid.UUID(int=1),
        "decimal": decimal.Decimal("1.5"),
        "when": datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc),
        "day": datetime.date(2026, 1, 2),
        "list": (1, {2}),
        "size": Size(3),
        "nan": float("nan"),
        "huge": 10**400,
        "bytes": b"abc",
        "path": Path("/tmp"),
        "object": Secretive(),
        5: True,
        None: "x",
        "half": "\ud800",
        "deep": {"a": {"b": [1]}},
    }
    client().track("x", user_id="u", properties=given)
    assert telemetry_events[0]["properties"] == {
        "enum": "pro", "uuid": "00000000-0000-0000-0000-000000000001", "decimal": 1.5,
        "when": "2026-01-02T00:00:00+00:00", "day": "2026-01-02", "list": [1, [2]], "size": {"width": 3}, "nan": None,
        "huge": None, "bytes": "abc", "path": "/tmp", "object": "<Secretive>", "5": True, "null": "x", "half": "\ufffd",
        "deep": {"a": {"b": [1]}},
    }  # fmt: skip


def test_what_is_changed_after_the_call_is_not_changed_in_the_event(stub: StubGateway) -> None:
    properties = {"list": [1]}
    with TelemetryClient(stub.url) as ours:
        ours.track("x", user_id="u", properties=properties)
        properties["list"].append(2)
        properties.clear()
    assert stub.events[0]["properties"] == {"list": [1]}


def test_a_value_that_holds_itself_or_goes_on_for_ever_is_survived(telemetry_events: CapturedEvents) -> None:
    loop: dict[str, Any] = {}
    loop.update({str(n): loop for n in range(50)}, list=[loop], when=datetime.date(2026, 1, 1))
    client().track("x", user_id="u", properties=loop)
    assert telemetry_events[0]["properties"]["7"] == "<cycle>"
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    lost: list[Lost] = []
    telemetry_events.is_strict = False
    assert client(on_drop=lost.append).track("x", user_id="u", properties={"deep": deep}) is None
    assert lost[0].code == "too_deep"


def test_context_is_added_to_the_clients(telemetry_events: CapturedEvents) -> None:
    ours = client(context={"release": "1", "segments": {"plan": "pro"}})
    ours.track("x", user_id="u", context={"segments": {"country": "CH"}, "release": "2"})
    context = telemetry_events[0]["context"]
    assert (context["release"], context["segments"]) == ("2", {"plan": "pro", "country": "CH"})
    assert ours._pipeline.context["segments"] == {"plan": "pro"}


# -- measuring


def test_a_block_and_a_function_can_be_measured(telemetry_events: CapturedEvents) -> None:
    ours = client()
    with ours.measure("block") as measured:
        measured.http_status = 201
        measured.properties["rows"] = 3

    @ours.measure("function")
    def doubled(value: int) -> int:
        return value * 2

    assert (doubled(2), doubled(3)) == (4, 6)
    assert doubled.__name__ == "doubled"
    with pytest.raises(KeyError), ours.measure("fails"):
        raise KeyError("x")
    block, first, second, failed = (event["properties"] for event in telemetry_events)
    assert (block["operation"], block["http_status"], block["rows"], block["status"]) == ("block", 201, 3, "ok")
    assert first["operation"] == second["operation"] == "function"
    assert failed["status"] == "error"
    assert all(properties["duration_ms"] >= 0 for properties in (block, first, second, failed))


def test_coroutines_are_measured_while_they_run(telemetry_events: CapturedEvents) -> None:
    ours = client()

    @ours.measure("slow")
    async def slow() -> int:
        await asyncio.sleep(0.02)
        return 1

    assert asyncio.run(slow()) == 1
    assert telemetry_events[0]["properties"]["duration_ms"] >= 15


# -- what is wrong with events


def test_an_invalid_event_is_dropped_counted_told_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    lost: list[Lost] = []
    ours = client(on_drop=lost.append)
    with caplog.at_level(logging.WARNING, "telemetry"):
        assert ours.track("no/slashes", user_id="u") is None
        assert ours.track("x") is None
    assert ours.stats().dropped_by == {"invalid": 2}
    assert ours.stats().unaccounted == 0
    assert [(one.code, one.path) for one in lost] == [
        ("pattern_mismatch", "/event_name"),
        ("required_missing", "/user_id"),
    ]
    assert "`user_id` or `anonymous_id` is required" in caplog.text


def test_strict_mode_raises_with_the_field_and_the_nearest_name() -> None:
    ours = client(strict=True)
    with pytest.raises(InvalidEventError, match="user_id") as raised:
        ours.track("x")
    assert raised.value.violations[0].code == "required_missing"
    with pytest.raises(InvalidEventError, match="did you mean `user_agent`"):
        ours.track("x", user_id="u", context={"useragent": "x"})
    with pytest.raises(TelemetryError, match="did you mean `first_project_created`"):
        ours.track_ttf_milestone("frist_project_created", user_id="u")  # type: ignore[arg-type]
    assert ours.stats().dropped_by == {"invalid": 3}


def test_an_event_that_is_too_large_is_dropped() -> None:
    ours = client(strict=True)
    with pytest.raises(InvalidEventError, match="at most 32768"):
        ours.track("x", user_id="u", properties={str(n): "x" * 1000 for n in range(40)})


class Hostile:
    @property
    def __class__(self) -> Any:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    "call",
    [
        lambda ours: ours.track(None),
        lambda ours: ours.track("x", user_id=object()),
        lambda ours: ours.track("x", user_id="u", properties=3),
        lambda ours: ours.track("x", user_id="u", properties=[1]),
        lambda ours: ours.track("x", user_id="u", properties={"a": Hostile()}),
        lambda ours: ours.track("x", user_id="u", timestamp=object()),
        lambda ours: ours.track("x", user_id="u", timestamp=float("nan")),
        lambda ours: ours.track("x", user_id="u", timestamp="yesterday"),
        lambda ours: ours.track("x", user_id="u", context=3),
        lambda ours: ours.track("x", user_id="u", event_id="\n"),
        lambda ours: ours.track("x", user_id="u", session_id=3),
        lambda ours: ours.identify(None),
        lambda ours: ours.performance("op", "fast"),
        lambda ours: ours.performance("op", -1),
        lambda ours: ours.error(None),
        lambda ours: ours.group("u", None),
        lambda ours: ours.track_ttf_milestone(None, user_id="u"),
    ],
)
def test_no_argument_makes_a_call_raise(call: Any) -> None:
    ours = client()
    call(ours)
    stats = ours.stats()
    assert stats.created == 1
    assert stats.unaccounted == 0


def test_callbacks_that_fail_are_survived() -> None:
    def fails(_: Any) -> Any:
        raise RuntimeError("the application's")

    ours = client(on_drop=fails, before_send=fails)
    assert ours.track("x", user_id="u") is None
    assert ours.stats().dropped_by == {"before_send": 1}


def test_an_unknown_milestone_is_sent_with_a_hint(
    telemetry_events: CapturedEvents, caplog: pytest.LogCaptureFixture
) -> None:
    telemetry_events.is_strict = False
    ours = client(milestones=["team_invited"])
    with caplog.at_level(logging.WARNING, "telemetry"):
        ours.track_ttf_milestone(CustomMilestone("team_invited"), user_id="u")
        assert not caplog.text
        ours.track_ttf_milestone(CustomMilestone("first_projct_created"), user_id="u")
    assert "did you mean `first_project_created`" in caplog.text
    assert len(telemetry_events) == 2


# -- personal data


def test_the_hook_changes_and_drops_and_the_policy_has_the_last_word(stub: StubGateway) -> None:
    def hook(event: dict[str, Any]) -> Any:
        if event["event_name"] == "secret":
            return None
        event["properties"]["mail"] = "ada@example.com"
        event["properties"]["when"] = datetime.date(2026, 1, 1)
        return event

    given = {"a": 1}
    with TelemetryClient(stub.url, before_send=hook, privacy=MASK_DETECTED) as ours:
        ours.track("x", user_id="u", properties=given)
        ours.track("secret", user_id="u", properties={})
        assert ours.flush()
        stats = ours.stats()
    assert stub.events[0]["properties"] == {"a": 1, "mail": "***", "when": "2026-01-01"}
    assert given == {"a": 1}
    assert (stats.created, stats.accepted, stats.dropped_by) == (2, 1, {"before_send": 1})


def test_the_text_of_an_exception_is_sent_only_when_asked_for(telemetry_events: CapturedEvents) -> None:
    client().error(ValueError("ada@example.com"))
    client(error_messages=True).error(ValueError("no such plan"))
    assert "message" not in telemetry_events[0]["properties"]
    assert telemetry_events[1]["properties"]["message"] == "no such plan"


# -- without sending


def test_disabled_nothing_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEMETRY_DISABLED", "1")
    ours = client()
    assert ours.track("x", user_id="u") is None
    assert ours.track("in/valid") is None
    assert ours.flush(1)
    assert ours.stats().created == 0
    assert not ours._pipeline.sender.is_running()


def test_a_null_client_takes_every_call() -> None:
    null: TelemetryClient = NullClient("http://x", anything=1)
    assert null.track("x") is None
    with null.measure("x"):
        pass
    assert null.stats().created == 0
    assert null.close()


def test_debug_prints_what_would_be_sent(
    stub: StubGateway, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with TelemetryClient(stub.url, debug=True, privacy=MASK_DETECTED) as ours:
        ours.track("x", user_id="u", properties={"mail": "ada@example.com"})
    printed = capsys.readouterr().err
    assert '"event_name":"x"' in printed
    assert "***" in printed
    assert "ada@" not in printed
    assert len(stub.events) == 1
    monkeypatch.setenv("TELEMETRY_DISABLED", "1")
    with TelemetryClient(stub.url, debug=True) as ours:
        ours.track("dry", user_id="u")
    assert '"event_name":"dry"' in capsys.readouterr().err
    assert len(stub.events) == 1


def test_captures_hold_what_was_tracked_even_when_disabled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEMETRY_DISABLED", "1")
    ours = client()
    with capture() as outer:
        ours.track("a", user_id="u", properties={"n": 1})
        with capture() as inner:
            ours.track("b", user_id="u")
        with pytest.raises(InvalidEventError):
            ours.track("c")
    assert outer.one("a", n=1)["user_id"] == "u"
    assert [event["event_name"] for event in inner] == ["b"]
    with pytest.raises(AssertionError, match="0 events `b`"):
        outer.one("b")
    assert ours.track("a", user_id="u") is None


# -- delivery


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


# -- asyncio


def test_the_async_client_has_the_same_methods_and_arguments() -> None:
    import inspect

    for name, method in inspect.getmembers(TelemetryClient, inspect.isfunction):
        if not name.startswith("_"):
            ours = inspect.signature(getattr(AsyncTelemetryClient, name))
            assert ours.parameters == inspect.signature(method).parameters, name


def test_the_async_client_sends(stub: StubGateway) -> None:
    async def main() -> None:
        async with AsyncTelemetryClient(stub.url) as ours:
            await ours.track("a", user_id="u")
            await ours.track_ttf_milestone("signup", user_id="u")
            await ours.identify("u", {"plan": "pro"})
            await ours.group("u", "g")
            await ours.page("p", user_id="u")
            await ours.error("E")
            await ours.performance("op", 1)
            async with ours.measure("block"):
                pass
            assert await ours.flush()
            assert ours.stats().accepted == 8

    asyncio.run(main())
    assert len(stub.events) == 8


def test_a_full_queue_does_not_hold_up_the_event_loop() -> None:
    async def main() -> float:
        ours = AsyncTelemetryClient("http://127.0.0.1:9", when_full="block", block_timeout=1.0, max_queue_events=1)
        await ours.track("x", user_id="u")
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticking = asyncio.ensure_future(tick())
        assert await ours.track("x", user_id="u") is None
        ticking.cancel()
        await ours.close(0)
        return ticks

    assert asyncio.run(main()) > 10


# -- options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"flush_intervall": 1}, "did you mean `flush_interval`"),
        ({"batch_events": 2501}, "at most 2500"),
        ({"max_queue_events": 0}, "at least 1"),
        ({"when_full": "wait"}, "one of drop, block"),
        ({"url": "localhost:8080"}, "no address"),
        ({"url": "http://user:hunter2@:1"}, "no address"),
        ({"api_key": "k\n"}, "api_key"),
        ({"context": {"useragent": "x"}}, "did you mean `user_agent`"),
        ({"spool": "/proc/nowhere"}, "spool"),
    ],
)
def test_options_that_cannot_be_are_refused_by_name(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as raised:
        TelemetryClient(**options)
    assert "hunter2" not in str(raised.value)


def test_the_file_has_options_policy_and_milestones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, telemetry_events: CapturedEvents
) -> None:
    file = tmp_path / "telemetry.yaml"
    file.write_text(
        "log: { kind: kafka }\n"
        "client:\n  url: http://from-file:1\n  api_key: ${env:MY_KEY}\n  flush_interval: 2\n  context: {release: '7'}\n"
        "privacy:\n  fields: {properties.mail: drop, properties.sealed: seal}\n  detectors: {card: mask}\n"
        "journeys:\n  - id: mine\n    milestones:\n      - {id: invited, events: [team_invited]}\n"
    )
    monkeypatch.setenv("TELEMETRY_CONFIG", str(file))
    monkeypatch.setenv("MY_KEY", "k")
    ours = TelemetryClient(flush_interval=3)
    assert (ours.options.url, ours.options.api_key, ours.options.flush_interval) == ("http://from-file:1", "k", 3)
    ours.track_ttf_milestone(
        CustomMilestone("team_invited"), user_id="u", properties={"mail": "x", "c": "4111111111111111"}
    )
    assert telemetry_events[0]["properties"] == {"c": "***"}
    assert telemetry_events[0]["context"]["release"] == "7"
    monkeypatch.setenv("TELEMETRY_URL", "http://from-environment:1")
    assert TelemetryClient().options.url == "http://from-environment:1"


def test_hashes_are_made_with_the_tenants_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, telemetry_events: CapturedEvents
) -> None:
    file = tmp_path / "telemetry.yaml"
    file.write_text(
        "client: {tenant: acme}\n"
        "privacy:\n  fields: {properties.nick: hash}\n  keys: [{id: k1, secret: other}]\n"
        "  tenant_keys:\n    acme:\n      - {id: k2, secret: '${env:MY_KEY}'}\n"
    )
    monkeypatch.setenv("TELEMETRY_CONFIG", str(file))
    monkeypatch.setenv("MY_KEY", "new secret")
    TelemetryClient().track("x", user_id="u", properties={"nick": "ada"})
    # As in the vectors.
    assert telemetry_events[0]["properties"] == {"nick": "hash:k2:474e1bb886071c7f99ac097596f39f11"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("client: {urll: x}", "did you mean `url`"),
        ("client: {flush_interval: soon}", "must be a number"),
        ("client: {batch_events: true}", "must be a whole number"),
        ("client: [1]", "must be a map"),
        ("client: {api_key: '${env:NOT_THERE}'}", "NOT_THERE"),
        ("client: |", "line 1"),
    ],
)
def test_mistakes_in_the_file_are_named(text: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "telemetry.yaml"
    file.write_text(text)
    monkeypatch.setenv("TELEMETRY_CONFIG", str(file))
    with pytest.raises(ConfigurationError, match=words):
        TelemetryClient()


def test_the_servers_own_file_can_be_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    from .conftest import ROOT

    monkeypatch.setenv("TELEMETRY_CONFIG", str(ROOT / "config/telemetry.yaml"))
    ours = TelemetryClient()
    assert ours.options.privacy.fields == {"context.ip": "truncate"}


def test_traits_and_groups_of_any_kind_are_survived() -> None:
    ours = client()
    ours.group("u", "g", 3)  # type: ignore[arg-type]
    ours.page(properties=[1])  # type: ignore[arg-type]
    assert ours.stats().created == 2
    assert ours.stats().unaccounted == 0
