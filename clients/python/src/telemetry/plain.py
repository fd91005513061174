"""Turns what applications put into properties into plain JSON values, and those into bytes.

| given | becomes |
|---|---|
| `datetime`, `date`, `time` | RFC 3339 / ISO 8601 text (a naive `datetime` is local time) |
| `UUID`, `Path`, `Decimal` | text; a finite `Decimal` a number |
| `Enum` | its value |
| `tuple`, `set`, `frozenset`, other iterables of the standard library | list |
| dataclass, named mapping | object |
| `bytes` | text, when it is UTF-8 |
| NaN, infinities | null |
| numbers with an `.item()` (NumPy) | number |
| anything else | `<TypeName>`: never `repr`, which tells more than anybody meant to send |
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections import deque
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, Optional
from uuid import UUID

_SCALARS = frozenset((str, int, bool, type(None)))
_AS_THEY_ARE = frozenset((str, bool, type(None)))
#: The schema refuses far less than this.
_DEEPEST = 8
_LEAST_INT, _GREATEST_INT = -(2**63), 2**64 - 1


def _encoder() -> Callable[[Any], str]:
    """The standard library's encoder, made once where it lets itself: making it costs as much as using it."""
    encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), check_circular=False)
    try:
        make, quote = json.encoder.c_make_encoder, json.encoder.encode_basestring  # type: ignore[attr-defined]
        chunks = make(None, encoder.default, quote, None, ":", ",", False, False, False)
        if "".join(chunks({"a": ["ü", 1]}, 0)) == '{"a":["ü",1]}':
            return lambda value: "".join(chunks(value, 0))
    except (AttributeError, TypeError):
        pass  # an interpreter that has none, or another one
    return encoder.encode


_encode = _encoder()


def plain(value: Any, around: tuple[int, ...] = ()) -> Any:
    """`value` as plain JSON values. What is plain already is returned as it is, not copied.

    `around`: identities of the containers it is in, so that a value that holds itself comes to an end.
    """
    kind = type(value)
    if kind in _SCALARS:
        return value if kind is not int or _LEAST_INT <= value <= _GREATEST_INT else _float(value)
    if kind is float:
        return value if math.isfinite(value) else None
    if id(value) in around:
        return "<cycle>"
    if len(around) > _DEEPEST:
        return "<too deep>"
    around = (*around, id(value))
    if kind is dict:
        return _dict(value, around)
    if kind is list:
        return _list(value, around)
    return _converted(value, around)


def _dict(value: dict[Any, Any], around: tuple[int, ...]) -> dict[str, Any]:
    copy: Optional[dict[str, Any]] = None
    for key, item in value.items():
        changed, name = item, key
        if type(item) not in _AS_THEY_ARE:
            changed = plain(item, around)
        if type(key) is not str:
            name = _key(key)
        if copy is None and (changed is not item or name is not key):
            copy = dict(itertools.islice(value.items(), list(value).index(key)))
        if copy is not None:
            copy[name] = changed
    return value if copy is None else copy


def _list(value: list[Any], around: tuple[int, ...]) -> list[Any]:
    for index, item in enumerate(value):
        changed = plain(item, around)
        if changed is not item:
            return [*value[:index], changed, *(plain(rest, around) for rest in value[index + 1 :])]
    return value


def _key(key: Any) -> str:
    if isinstance(key, str):
        return str(key.value) if isinstance(key, Enum) else str(key)
    inner = plain(key)
    return inner if isinstance(inner, str) else _encode(inner)


def _float(value: int) -> Any:
    try:
        return float(value)
    except OverflowError:
        return None


def _converted(value: Any, around: tuple[int, ...]) -> Any:
    if isinstance(value, Enum):
        return plain(value.value, around)
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.astimezone()).isoformat()
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, (UUID, PurePath)):
        return str(value)
    if isinstance(value, Decimal):
        return plain(float(value), around) if value.is_finite() else None
    if isinstance(value, (bytes, bytearray)):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return "<bytes>"
    for base in (str, bool, int, float):
        if isinstance(value, base):
            return plain(base(value), around)
    if isinstance(value, Mapping):
        return {_key(key): plain(item, around) for key, item in value.items()}
    if isinstance(value, (list, tuple, deque, AbstractSet)):
        return [plain(item, around) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {field.name: plain(getattr(value, field.name), around) for field in fields}
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "ndim", None) == 0:
        inner = item()
        if type(inner) in _SCALARS or type(inner) is float:
            return plain(inner, around)
    return f"<{type(value).__name__}>"


def to_json(value: Any) -> str:
    """Plain values as JSON without spaces. Raises `ValueError` for what is not plain."""
    return _encode(value)


def to_bytes(value: Any) -> bytes:
    """Plain values as JSON in UTF-8; halves of surrogate pairs, which no JSON reader takes, become U+FFFD."""
    text = _encode(value)
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode("utf-8")
