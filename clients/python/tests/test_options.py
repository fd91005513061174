"""Options and the file that has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from telemetry import (
    ConfigurationError,
    CustomMilestone,
    TelemetryClient,
)
from telemetry.testing import CapturedEvents


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
