"""The methods of the client: what each sends."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import decimal
import enum
import uuid
from pathlib import Path
from typing import Any

import pytest

from telemetry import (
    MASK_DETECTED,
    AsyncTelemetryClient,
    InvalidEventError,
    Lost,
    NullClient,
    TelemetryClient,
)
from telemetry.testing import CapturedEvents, capture

from .stub import StubGateway


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
