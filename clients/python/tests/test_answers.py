"""What answers mean, and when the next attempt is made."""

from __future__ import annotations

import json
from typing import Any

import pytest

from telemetry.retry import Backoff, retry_after
from telemetry.verdict import Next, judge


def body(results: list[dict[str, Any]] | None = None, **other: Any) -> bytes:
    answer = {"code": "x", "message": "m", "accepted": 0, "rejected": 0, "duplicate": 0, "results": results or []}
    return json.dumps({**answer, **other}).encode()


def test_what_is_not_listed_was_taken() -> None:
    verdict = judge(202, {}, body([{"index": 1, "status": "duplicate"}]), 3)
    assert verdict.next is Next.DONE
    assert verdict.fates == {0: "accepted", 1: "duplicate", 2: "accepted"}
    assert verdict.problem is None


def test_a_mixed_answer_is_read_event_by_event() -> None:
    results = [
        {"index": 0, "status": "rejected", "code": "too_long", "path": "/user_id", "message": "m", "hint": "h"},
        {"index": 1, "status": "retry", "code": "ack_timeout"},
        {"index": 2, "status": "limited", "code": "rate_limited"},
        {"index": 3, "status": "a word of tomorrow"},
        {"index": 99, "status": "rejected"},
        {"status": "rejected"},
        "nonsense",
    ]
    verdict = judge(207, {"retry-after": "7"}, body(results), 5)  # type: ignore[arg-type]
    assert verdict.next is Next.LATER
    assert verdict.fates == {0: "rejected", 4: "accepted"}
    assert verdict.retry_after == 7.0
    assert (verdict.refusals[0].code, verdict.refusals[0].path, verdict.refusals[0].hint) == (
        "too_long",
        "/user_id",
        "h",
    )


def test_where_every_event_is_refused_none_was_taken() -> None:
    verdict = judge(422, {}, body(), 2)
    assert verdict.fates == {0: "rejected", 1: "rejected"}
    assert set(verdict.refusals) == {0, 1}


@pytest.mark.parametrize(
    "page", [b"", b"<html>Please log in</html>", b"[]", b'{"ok":true}', b'{"code":"x","acc', b"\xff"]
)
@pytest.mark.parametrize("status", [200, 202, 207, 422])
def test_a_page_that_is_no_gateways_answer_acknowledges_nothing(status: int, page: bytes) -> None:
    verdict = judge(status, {}, page, 2)
    assert verdict.next is Next.LATER
    assert verdict.fates == {}


@pytest.mark.parametrize(
    ("status", "page", "what"),
    [
        (400, body(), Next.SPLIT),
        (400, b"<html>", Next.MISCONFIGURED),
        (413, b"", Next.SMALLER),
        (408, b"", Next.LATER),
        (429, b"", Next.LATER),
        (500, b"", Next.SUSPECT),
        (502, b"", Next.LATER),
        (503, body(), Next.LATER),
        (504, b"", Next.LATER),
        (401, body(), Next.MISCONFIGURED),
        (403, body(), Next.MISCONFIGURED),
        (404, b"", Next.MISCONFIGURED),
        (415, body(), Next.MISCONFIGURED),
        (301, b"", Next.MISCONFIGURED),
        (200, b"<html>", Next.LATER),
    ],
)
def test_nothing_is_given_up_because_of_a_status(status: int, page: bytes, what: Next) -> None:
    verdict = judge(status, {}, page, 2)
    assert verdict.next is what
    assert verdict.fates == {}
    assert verdict.problem


def test_retry_after_is_a_number_or_a_date() -> None:
    assert retry_after({"retry-after": "5"}) == 5.0
    assert retry_after({"retry-after": "Thu, 01 Jan 1970 00:01:40 GMT"}, now=lambda: 40.0) == 60.0
    assert retry_after({"retry-after": "Thu, 01 Jan 1970 00:01:40 GMT"}, now=lambda: 400.0) == 0.0
    assert retry_after({"retry-after": "soon"}) is None
    assert retry_after({"retry-after": "-1"}) is None
    assert retry_after({}) is None


def test_pauses_grow_and_are_spread_and_bounded() -> None:
    backoff = Backoff(first=1.0, longest=8.0)
    assert [backoff.delay(n, None, lambda: 1.0) for n in (1, 2, 3, 4, 5, 1000)] == [1, 2, 4, 8, 8, 8]
    assert backoff.delay(3, None, lambda: 0.0) == 2.0


def test_the_gateways_wish_is_obeyed_within_reason() -> None:
    backoff = Backoff()
    assert backoff.delay(1, 30.0, lambda: 0.0) == 30.0
    assert 30.0 < backoff.delay(1, 30.0, lambda: 1.0) <= 31.0
    assert backoff.delay(1, 86_400.0, lambda: 0.0) == 300.0
