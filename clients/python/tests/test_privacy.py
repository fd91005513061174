"""The privacy policy at the source does what the gateway's does."""

from __future__ import annotations

import copy
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry import ConfigurationError, HashKey, PrivacyPolicy
from telemetry.detectors import _ANYTHING, _FINDERS, CLASSES, find
from telemetry.privacy import MASK_DETECTED, Redaction

from .conftest import ROOT

VECTORS = ROOT / "schemas/testdata/privacy"
TEXTS = json.loads((VECTORS / "detectors.json").read_text())["cases"]
POLICIES = json.loads((VECTORS / "policies.json").read_text())["cases"]


def policy_of(given: dict[str, Any], tenant: str) -> PrivacyPolicy:
    lists = given.get("properties", {})
    return PrivacyPolicy(
        fields=given.get("fields", {}),
        detectors=given.get("detectors", {}),
        allow=lists.get("allow"),
        deny=lists.get("deny", ()),
        keys=[HashKey(**key) for key in given.get("keys", [])],
        tenant=tenant,
    )


@pytest.mark.parametrize("case", TEXTS, ids=lambda case: case["text"][:40])
def test_detectors_find_what_the_vectors_say(case: dict[str, Any]) -> None:
    found = [[kind, case["text"][start:end]] for start, end, kind in find(case["text"])]
    assert found == case["found"]


@pytest.mark.parametrize("case", POLICIES, ids=lambda case: case["name"])
def test_policies_do_what_the_vectors_say(case: dict[str, Any]) -> None:
    policy = policy_of(case["policy"], case["tenant"])
    if "seal" in json.dumps(case["policy"]):
        with pytest.raises(ConfigurationError, match="done by the gateway"):
            policy.compile()
        return
    told: list[Redaction] = []
    before = copy.deepcopy(case["input"])
    compiled = policy.compile()
    after = compiled.apply(case["input"], told.append) if compiled is not None else case["input"]
    assert after == case["expected"]
    wanted = [(one["path"], one["class"], one["action"]) for one in case["redactions"]]
    assert sorted(map(tuple, told)) == sorted(wanted)
    assert case["input"] == before, "what the application holds must not change"


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from([case["text"] for case in TEXTS]) | st.text(max_size=10), max_size=4).map(" ".join))
def test_the_quick_look_never_misses_anything(text: str) -> None:
    if _ANYTHING(text) is None:
        assert [place for kind in CLASSES for place in _FINDERS[kind](text)] == []


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ada@example.com4111 -+.:/%0123456789=passwordtokenABCDEF_", max_size=80))
def test_masking_twice_is_masking_once(text: str) -> None:
    compiled = MASK_DETECTED.compile()
    assert compiled is not None
    event = {"event_type": "track", "properties": {"a": text}}
    once = compiled.apply(event)
    assert compiled.apply(once)["properties"].keys() == once["properties"].keys()
    finds = find(text)
    for start, end, _ in finds:
        assert text[start:end] not in once["properties"]["a"] or text.count(text[start:end]) > 1


@pytest.mark.parametrize(
    "piece", ["a@", "1-", "::", "a.", "+1 ", "token=", "eyJ", "-----BEGIN ", "4111 ", "(", "1.", "%40", "x" * 50 + "@"]
)
def test_no_text_takes_long(piece: str) -> None:
    text = (piece * 8192)[:8192]
    started = time.process_time()
    find(text)
    assert time.process_time() - started < 1.0


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (PrivacyPolicy(fields={"properties.a": "hash"}), "needs a key"),
        (PrivacyPolicy(fields={"user_id": "drop"}), "can only be hashed"),
        (PrivacyPolicy(fields={"email": "drop"}), "starts with"),
        (PrivacyPolicy(fields={"properties.a": "mak"}), "did you mean `mask`"),  # type: ignore[dict-item]
        (PrivacyPolicy(detectors={"emails": "mask"}), "did you mean `email`"),  # type: ignore[dict-item]
    ],
)
def test_what_cannot_be_done_is_an_error_at_the_start(policy: PrivacyPolicy, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        policy.compile()
