"""What the methods of a client say, as the parts of an event. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional, Union
from uuid import UUID

#: Ids of people. Whole numbers and UUIDs are sent as their text.
Id = Union[str, int, UUID]
Properties = Mapping[str, Any]
#: Type, name, properties.
Call = tuple[str, str, Optional[Properties]]

#: A message of an error is cut to so many characters.
_LONGEST_MESSAGE = 1000


def identify(traits: Optional[Properties]) -> Call:
    """Traits are the properties."""
    return "identify", "identify", traits


def group(group_id: Id, traits: Optional[Properties]) -> Call:
    """The group's id is the property `group_id`."""
    return "group", "group", {**(traits or {}), "group_id": str(group_id)}


def page(name: Optional[str], url: Optional[str], properties: Optional[Properties]) -> Call:
    """Name and address of the page are properties: neither has to be a valid event name."""
    own = {"name": name, "url": url}
    return "page", "page", {**(properties or {}), **{key: value for key, value in own.items() if value is not None}}


def performance(
    operation: str,
    duration_ms: float,
    status: Optional[str],
    http_status: Optional[int],
    properties: Optional[Properties],
) -> Call:
    """What an operation took."""
    own: dict[str, Any] = {"operation": operation, "duration_ms": duration_ms}
    if status is not None:
        own["status"] = status
    if http_status is not None:
        own["http_status"] = http_status
    return "performance", "performance", {**(properties or {}), **own}


def error(
    error: Union[BaseException, type[BaseException], str],
    message: Optional[str],
    handled: bool,
    severity: str,
    operation: Optional[str],
    properties: Optional[Properties],
    with_message: bool,
) -> Call:
    """What went wrong. The text of an exception is only sent `with_message`: it may hold anything."""
    if isinstance(error, BaseException):
        if message is None and with_message:
            message = str(error)
        error = type(error)
    error_type = error if isinstance(error, str) else getattr(error, "__qualname__", type(error).__qualname__)
    own: dict[str, Any] = {"error_type": error_type[:200] or "Error", "handled": handled, "severity": severity}
    if message is not None:
        own["message"] = message[:_LONGEST_MESSAGE]
    if operation is not None:
        own["operation"] = operation
    return "error", "error", {**(properties or {}), **own}


def id_text(value: object) -> Any:
    """An id as text; what cannot be one is left for the validation to refuse."""
    is_id = isinstance(value, (int, UUID, str)) and not isinstance(value, bool)
    return str(value) if is_id else value
