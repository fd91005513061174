"""Holds an event against the project's JSON Schema, with the codes and paths of the gateway's answers.

What the schema says in its grammar is generated into `_schema.py`; what it says in prose (depth, length of strings in
properties, size of an event) stands here. Tests hold both against the schema, its test data and a full validator.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import Any, Optional

from . import _schema as schema
from .errors import Violation
from .names import bounded, kind, nearest, segment

#: One event's JSON, in bytes of UTF-8.
MAX_EVENT_BYTES = 32 * 1024
#: Levels of nesting in `properties`, itself included.
MAX_DEPTH = 5
#: A text in `properties`, in bytes of UTF-8.
MAX_TEXT_BYTES = 8 * 1024

_MAX_VIOLATIONS = 16
_FIELDS = frozenset(schema.FIELDS)
_IDS = tuple(schema.IDS.items())
_EVENT_NAME = re.compile(schema.EVENT_NAME_PATTERN.rstrip("$") + r"\Z").match
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]").search
_TIMESTAMP = re.compile(schema.TIMESTAMP_PATTERN.rstrip("$") + r"\Z", re.ASCII).match
_TIMESTAMP_HINT = "RFC 3339 with an offset, such as 2026-01-31T12:00:00.000Z"
_SCALARS = frozenset((int, bool, float, type(None)))


def check(event: dict[str, Any], *, knows: frozenset[str] = frozenset()) -> list[Violation]:
    """Everything that is wrong with an event of plain JSON values, at most 16 things; empty when it is valid.

    `knows`: fields among `event_id`, `event_type` and `timestamp` that were made here and so need no check.
    """
    found: list[Violation] = []
    if not event.keys() <= _FIELDS:
        found.extend(_unknown_field(key) for key in event if key not in _FIELDS)
    _event_name(event.get("event_name"), found)
    event_type: Optional[str] = event["event_type"] if "event_type" in knows else _event_type(event, found)
    for field, longest in _IDS:
        if field in event and field not in knows:
            _id(field, event[field], longest, found)
    if "timestamp" in event and "timestamp" not in knows:
        _timestamp(event["timestamp"], found)
    if event_type in schema.PERSONAL_TYPES and "user_id" not in event and "anonymous_id" not in event:
        found.append(
            Violation(
                "required_missing",
                "/user_id",
                "`user_id` or `anonymous_id` is required",
                "only `test`, `performance` and `error` events need neither",
            )
        )
    _properties(event, event_type, found)
    if "context" in event:
        _context(event["context"], found)
    return found[:_MAX_VIOLATIONS]


def too_large(size: int) -> Violation:
    """The violation of an event whose JSON has `size` bytes, more than are taken."""
    return Violation("too_large", "", f"the event has {size} bytes, at most {MAX_EVENT_BYTES} are taken")


def _unknown_field(key: str) -> Violation:
    near = nearest(key, schema.FIELDS)
    hint = f"did you mean `{near}`?" if near else "fields of your own belong into `properties`"
    return Violation("additional_properties", f"/{segment(key)}", f"`{bounded(key)}` is not a field of an event", hint)


def _wrong_kind(path: str, wanted: str, value: object) -> Violation:
    return Violation("datatype_mismatch", path, f"must be {wanted}, this is {kind(value)}")


def _too_long(path: str, longest: int) -> Violation:
    return Violation("too_long", path, f"must have at most {longest} characters")


def _event_name(name: object, found: list[Violation]) -> None:
    path = "/event_name"
    if type(name) is str:
        if _EVENT_NAME(name) is not None:
            if len(name) > schema.EVENT_NAME_MAX:
                found.append(_too_long(path, schema.EVENT_NAME_MAX))
        elif not name:
            found.append(Violation("too_short", path, "must not be empty"))
        else:
            hint = "use letters, digits and _ . : $ - or a space"
            found.append(Violation("pattern_mismatch", path, f"must match {schema.EVENT_NAME_PATTERN}", hint))
    elif name is None:
        found.append(Violation("required_missing", path, "`event_name` is required"))
    else:
        found.append(_wrong_kind(path, "a string", name))


def _event_type(event: dict[str, Any], found: list[Violation]) -> Optional[str]:
    path, name = "/event_type", event.get("event_type")
    all_types = f"one of {', '.join(schema.EVENT_TYPES)}"
    if isinstance(name, str):
        if name in schema.EVENT_TYPES:
            return name
        near = nearest(name, schema.EVENT_TYPES)
        hint = f"did you mean `{near}`?" if near else all_types
        found.append(Violation("unknown_value", path, "is not a known event type", hint))
    elif "event_type" not in event:
        found.append(Violation("required_missing", path, "`event_type` is required", all_types))
    else:
        found.append(_wrong_kind(path, "a string", name))
    return None


def _id(field: str, value: object, longest: int, found: list[Violation]) -> None:
    if type(value) is str and 0 < len(value) <= longest and _CONTROL(value) is None:
        return
    path = f"/{field}"
    if not isinstance(value, str):
        found.append(_wrong_kind(path, "a string", value))
    elif not value:
        found.append(Violation("too_short", path, "must not be empty", "leave the field out when there is none"))
    elif _CONTROL(value) is not None:
        found.append(Violation("control_character", path, "must not contain control characters"))
    else:
        found.append(_too_long(path, longest))


def _timestamp(value: object, found: list[Violation]) -> None:
    if not isinstance(value, str):
        wrong = _wrong_kind("/timestamp", "a string", value)
        found.append(Violation(wrong.code, wrong.path, wrong.message, _TIMESTAMP_HINT))
    elif not is_timestamp(value):
        found.append(Violation("timestamp_invalid", "/timestamp", "is not an RFC 3339 date-time", _TIMESTAMP_HINT))


def is_timestamp(text: str) -> bool:
    """True for an RFC 3339 `date-time`; a leap second only where one can be."""
    if _TIMESTAMP(text) is None:
        return False
    second = int(text[17:19])
    zone = text[-6:]
    east = 0
    if text[-1] not in "Zz":
        hours, minutes = int(zone[1:3]), int(zone[4:6])
        if hours > 23 or minutes > 59:
            return False
        east = (hours * 60 + minutes) * (-1 if zone[0] == "-" else 1)
    year = int(text[0:4])
    # Python's calendar has no year 0; it is a leap year like 400.
    shown = year or 400
    try:
        parts = (int(text[5:7]), int(text[8:10]), int(text[11:13]), int(text[14:16]))
        moment = datetime(shown, *parts, min(second, 59), tzinfo=timezone.utc)
    except ValueError:
        return False
    if second < 60:
        return True
    minute_of_day = (moment.hour * 60 + moment.minute - east) % (24 * 60)
    return second == 60 and timedelta(minutes=minute_of_day) == timedelta(hours=23, minutes=59)


def _properties(event: dict[str, Any], event_type: Optional[str], found: list[Violation]) -> None:
    if "properties" not in event:
        if event_type in schema.TYPED_PROPERTIES:
            found.append(Violation("required_missing", "/properties", "`properties` is required"))
        return
    properties = event["properties"]
    if not isinstance(properties, dict):
        found.append(_wrong_kind("/properties", "an object", properties))
        return
    if len(properties) > schema.MAX_PROPERTIES:
        message = f"has {len(properties)} keys, at most {schema.MAX_PROPERTIES} are taken"
        found.append(Violation("too_many_keys", "/properties", message))
    for key, value in properties.items():
        # Most properties are short scalars; a character has at most four bytes.
        if type(value) in _SCALARS or (type(value) is str and len(value) * 4 <= MAX_TEXT_BYTES):
            continue
        excess = _excess(value, 2, f"/properties/{segment(key)}")
        if excess is not None:
            found.append(excess)
    rules = schema.TYPED_PROPERTIES.get(event_type or "")
    if rules is not None:
        for key in rules["required"]:
            if key not in properties:
                message = f"`properties.{key}` is required for `{event_type}` events"
                found.append(Violation("required_missing", f"/properties/{key}", message))
        _named(properties, "/properties", rules["properties"], found)


def _excess(value: Any, level: int, path: str) -> Optional[Violation]:
    """The first thing over a limit inside `value`, which stands at `level`."""
    if isinstance(value, str):
        if len(value.encode("utf-8", "surrogatepass")) <= MAX_TEXT_BYTES:
            return None
        return Violation("too_long", path, f"must have at most {MAX_TEXT_BYTES} bytes in UTF-8")
    if not isinstance(value, (dict, list)):
        return None
    if level > MAX_DEPTH:
        hint = "`properties` itself is level 1; send deeper structures as a JSON string"
        return Violation("too_deep", path, f"is nested more than {MAX_DEPTH} levels deep", hint)
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in inner:
        excess = _excess(item, level + 1, f"{path}/{segment(str(key))}")
        if excess is not None:
            return excess
    return None


def _named(values: dict[str, Any], path: str, rules: dict[str, Any], found: list[Violation]) -> None:
    """Checks the values that the schema knows by name."""
    for key, rule in rules.items():
        if key not in values:
            continue
        violation = _against(rule, values[key], f"{path}/{key}")
        if violation is not None:
            found.append(violation)


_KINDS = {"string": "a string", "boolean": "a boolean", "number": "a number", "integer": "a whole number"}


def _against(rule: dict[str, Any], value: Any, path: str) -> Optional[Violation]:
    wanted = rule["type"]
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    fits = {"string": isinstance(value, str), "boolean": isinstance(value, bool)}.get(wanted, is_number)
    if not fits:
        return _wrong_kind(path, _KINDS[wanted], value)
    if wanted == "integer" and value != int(value):
        return Violation("datatype_mismatch", path, "must be a whole number")
    if "enum" in rule and value not in rule["enum"]:
        near = nearest(value, rule["enum"])
        hint = f"did you mean `{near}`?" if near else f"one of {', '.join(rule['enum'])}"
        return Violation("unknown_value", path, "is not a known value", hint)
    if isinstance(value, str):
        if len(value) < rule.get("minLength", 0):
            return Violation("too_short", path, "must not be empty")
        if len(value) > rule.get("maxLength", len(value)):
            return _too_long(path, rule["maxLength"])
    elif is_number and not rule.get("minimum", value) <= value <= rule.get("maximum", value):
        limits = f"must be from {rule['minimum']} to {rule['maximum']}" if "maximum" in rule else "must not be negative"
        return Violation("out_of_range", path, limits)
    return None


def _context(context: object, found: list[Violation]) -> None:
    if not isinstance(context, dict):
        found.append(_wrong_kind("/context", "an object", context))
        return
    _known_keys(context, "/context", schema.CONTEXT_KEYS, found)
    for key, value in context.items():
        path = f"/context/{key}"
        if key in schema.CONTEXT_TEXTS:
            _text(value, path, schema.CONTEXT_TEXTS[key], found)
        elif key in schema.CONTEXT_MAPS or key in schema.CONTEXT_OBJECTS:
            if not isinstance(value, dict):
                found.append(_wrong_kind(path, "an object", value))
            elif key in schema.CONTEXT_MAPS:
                most, longest = schema.CONTEXT_MAPS[key]
                if len(value) > most:
                    found.append(Violation("too_many_keys", path, f"must have at most {most} keys"))
                for name, text in value.items():
                    _text(text, f"{path}/{segment(name)}", longest, found)
            else:
                _object(value, path, schema.CONTEXT_OBJECTS[key], found)


def _object(value: dict[str, Any], path: str, rules: dict[str, Any], found: list[Violation]) -> None:
    _known_keys(value, path, tuple(rules["properties"]), found)
    for key in rules["required"]:
        if key not in value:
            name = f"{path.rsplit('/', 1)[1]}.{key}"
            hint = "say whether analytics was agreed to: true or false"
            found.append(Violation("required_missing", f"{path}/{key}", f"`{name}` is required", hint))
    _named(value, path, rules["properties"], found)


def _text(value: object, path: str, longest: int, found: list[Violation]) -> None:
    if not isinstance(value, str):
        found.append(_wrong_kind(path, "a string", value))
    elif len(value) > longest:
        found.append(_too_long(path, longest))


def _known_keys(value: dict[str, Any], path: str, known: tuple[str, ...], found: list[Violation]) -> None:
    for key in value:
        if key not in known:
            near = nearest(key, known)
            hint = f"did you mean `{near}`?" if near else f"known keys: {', '.join(known)}"
            message = f"`{bounded(key)}` is not a known key of `{path[1:].replace('/', '.')}`"
            found.append(Violation("additional_properties", f"{path}/{segment(key)}", message, hint))
