"""The YAML that is read is read as a full reader does."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.yaml_subset import YamlError, parse

from .conftest import ROOT

FILES = ["config/telemetry.yaml", "config/dev.yaml"]
_words = st.text(alphabet="abcXYZ _.-/:#'\"[]{},&*!|>%@`é1", max_size=12) | st.sampled_from(
    ["", "true", "null", "1", "1.5", "-", "~", "#x", "a: b", "a #b"]
)
_leaves = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | _words
_documents = st.dictionaries(
    _words,
    st.recursive(
        _leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_words, inner, max_size=3), max_leaves=8
    ),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize("name", FILES)
def test_the_projects_files_are_read_alike(name: str) -> None:
    text = (ROOT / name).read_text()
    assert parse(text) == yaml.safe_load(text)


@settings(max_examples=300, deadline=None)
@given(_documents, st.sampled_from([None, True, False]))
def test_what_a_full_writer_writes_is_read_alike_or_refused(document: dict[str, Any], style: bool) -> None:
    text = yaml.safe_dump(document, default_flow_style=style, allow_unicode=True, width=1000)
    try:
        read = parse(text)
    except YamlError:
        return
    assert read == document


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab:-# \n[]{},'\"|&1", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse(text)
    except YamlError:
        return


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: |\n  x", "block scalars"),
        ("a: &x 1", "anchors"),
        ("a:\n\tb: 1", "spaces"),
        ("a: 1\na: 2", "given twice"),
        ("a: [1, 2", "not closed"),
        ("a: 'x", "not closed"),
        ("a: b: c", "map cannot start here"),
    ],
)
def test_what_is_not_read_is_refused_with_its_line(text: str, words: str) -> None:
    with pytest.raises(YamlError, match=words) as raised:
        parse(text)
    assert raised.value.line >= 1
