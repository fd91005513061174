"""Whatever a call is given, it does not harm its host."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from telemetry import (
    CustomMilestone,
    InvalidEventError,
    Lost,
    TelemetryClient,
    TelemetryError,
)
from telemetry.testing import CapturedEvents


def client(**options: Any) -> TelemetryClient:
    return TelemetryClient("http://127.0.0.1:9", **options)


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


def test_traits_and_groups_of_any_kind_are_survived() -> None:
    ours = client()
    ours.group("u", "g", 3)  # type: ignore[arg-type]
    ours.page(properties=[1])  # type: ignore[arg-type]
    assert ours.stats().created == 2
    assert ours.stats().unaccounted == 0
