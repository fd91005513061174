"""Names in messages: the nearest valid one, JSON Pointers, kinds of values."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Optional

_LONGEST_SLIP = 64
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


def nearest(given: str, valid: Iterable[str]) -> Optional[str]:
    """The valid name most like `given`, when it is like it enough to be what was meant."""
    if len(given) > _LONGEST_SLIP:
        return None
    wanted = _normalised(given)
    by_form = {_normalised(name): name for name in valid}
    close = difflib.get_close_matches(wanted, by_form, n=1, cutoff=0.6)
    return by_form[close[0]] if close else None


def _normalised(name: str) -> str:
    """`userId`, `User-ID` and `user_id` are the same."""
    return "".join(char for char in name if char.isascii() and char.isalnum()).lower()


def bounded(key: str) -> str:
    """A key as it may stand in a message: cut to a bounded length, without control characters."""
    text = _CONTROL.sub("\ufffd", key[:60])
    return text + "…" if len(key) > 60 else text


def segment(key: str) -> str:
    """A key as a segment of a JSON Pointer (RFC 6901), bounded."""
    return bounded(key).replace("~", "~0").replace("/", "~1")


def kind(value: object) -> str:
    """What kind of JSON value this is, with its article."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "a string"
    return "an object" if isinstance(value, dict) else "an array"
