"""The client's checks, the JSON Schema and the gateway's test data say the same of every event."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry import _schema as schema
from telemetry.plain import to_bytes
from telemetry.validation import MAX_EVENT_BYTES, check, is_timestamp, too_large

from .conftest import ROOT

SCHEMA = json.loads((ROOT / "schemas/json/event.schema.json").read_text())
# Patterns are ECMA 262's, where `$` is the end; Python's also stands before a last line break.
VALIDATOR = jsonschema.Draft202012Validator(json.loads(json.dumps(SCHEMA).replace('$"', r'\\Z"')))
EVENTS = ROOT / "schemas/testdata/events"
# What depends on the gateway's clock and tenant is left to the gateway; what is no object cannot be made here.
NOT_HERE = ("timestamp_far_future", "timestamp_far_past", "not_an_object")


@pytest.mark.parametrize("path", sorted((EVENTS / "valid").glob("*.json")), ids=lambda path: path.stem)
def test_valid_events_are_taken(path: Path) -> None:
    assert check(json.loads(path.read_text())) == []


@pytest.mark.parametrize("path", sorted((EVENTS / "invalid").glob("*.json")), ids=lambda path: path.stem)
def test_invalid_events_are_refused_in_the_gateways_words(path: Path) -> None:
    case = json.loads(path.read_text())
    if path.stem in NOT_HERE:
        assert case["code"].startswith("timestamp") or not isinstance(case["event"], dict)
        return
    violations = check(case["event"])
    if len(to_bytes(case["event"])) > MAX_EVENT_BYTES:
        violations = [too_large(len(to_bytes(case["event"])))]
    assert violations
    assert (violations[0].code, violations[0].path) == (case["code"], case["path"])


def test_a_message_names_the_field_and_the_nearest_right_one() -> None:
    violation = check({"event_name": "x", "event_type": "track", "user_id": "u", "sesion_id": "s"})[0]
    assert str(violation) == "sesion_id: `sesion_id` is not a field of an event (did you mean `session_id`?)"


def test_a_message_never_repeats_a_value() -> None:
    event = {"event_name": "secret/secret", "event_type": "secret", "user_id": "secret\n", "timestamp": "secret"}
    assert not any("secret" in str(violation) for violation in check(event))


_texts = st.text(max_size=12) | st.sampled_from(["", "x" * 100, "x" * 101, "x" * 201, "a\x00b", "a\x85b", "ok"])
_scalars = (
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | _texts
)
_values = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_texts, inner, max_size=2), max_leaves=4
)
_duration = st.sampled_from([0, 1.5, -1, "1", None, True])
_properties = st.fixed_dictionaries(
    {},
    optional={
        "operation": st.sampled_from(["op", "", "x" * 201, 5]),
        "duration_ms": _duration,
        "status": st.sampled_from(["ok", "error", "oops", 1]),
        "http_status": st.sampled_from([200, 200.0, 99, 600, 200.5, "200", True]),
        "error_type": st.sampled_from(["E", "", 1]),
        "message": _scalars,
        "handled": _scalars,
        "severity": _scalars,
        "other": _scalars,
    },
)
_consent = st.dictionaries(st.sampled_from(["analytics", "marketing", "other"]), st.booleans() | _texts, max_size=3)
_context = st.fixed_dictionaries(
    {},
    optional={
        "locale": _scalars,
        "ip": _scalars,
        "user_agent": _texts,
        "segments": st.dictionaries(_texts, _scalars, max_size=2) | _scalars,
        "library": st.dictionaries(st.sampled_from(["name", "version", "x"]), _scalars, max_size=2) | _scalars,
        "consent": _consent,
        "unknown": _scalars,
    },
)
_events = st.fixed_dictionaries(
    {},
    optional={
        "event_name": st.sampled_from(["signup", "Signed Up", "", "a/b", "é", "x" * 200, "x" * 201, "a\n", 3, None]),
        "event_type": st.sampled_from([*schema.EVENT_TYPES, "Track", "", None, 1]),
        "event_id": _scalars,
        "user_id": _scalars,
        "anonymous_id": _scalars,
        "session_id": _scalars,
        "journey_id": _texts,
        "properties": _properties | _scalars,
        "context": _context | _scalars,
        "extra": _scalars,
    },
)


@settings(max_examples=600, deadline=None)
@given(_events)
def test_it_agrees_with_a_full_validator(event: dict[str, Any]) -> None:
    assert (check(event) == []) == VALIDATOR.is_valid(event)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(_texts, _values, max_size=4))
def test_what_is_made_of_any_properties_is_json(properties: dict[str, Any]) -> None:
    event = {"event_name": "x", "event_type": "track", "user_id": "u", "properties": properties}
    if check(event) == []:
        assert json.loads(to_bytes(event)).keys() == event.keys()


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("2026-11-23T09:30:00.1239Z", True),
        ("2026-11-23t09:30:00+02:00", True),
        ("2016-12-31T23:59:60Z", True),
        ("2016-12-31T15:59:60-08:00", True),
        ("0000-02-29T00:00:00Z", True),
        ("2026-11-23T09:30:60Z", False),
        ("2026-02-29T00:00:00Z", False),
        ("2026-11-23T24:00:00Z", False),
        ("2026-11-23T09:30:00", False),
        ("2026-11-23T09:30:00+24:00", False),
        ("2026-11-23T09:30:00Z\n", False),
        ("２026-11-23T09:30:00Z", False),
    ],
)
def test_timestamps_are_rfc_3339_and_nothing_else(text: str, is_one: bool) -> None:
    assert is_timestamp(text) is is_one
