"""For the tests of applications: what was tracked, without a gateway.

    from telemetry.testing import capture

    def test_signing_up_is_tracked(app):
        with capture() as telemetry:
            app.post("/signup", …)
        assert telemetry.one("signup")["user_id"] == "user_1"

With pytest there is the fixture `telemetry_events`, without an import.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Optional

from . import pipeline
from .client import NullClient

__all__ = ["CapturedEvents", "NullClient", "capture"]


class CapturedEvents:
    """Events as they would have been sent: after the hook, the privacy policy and the validation."""

    def __init__(self, is_strict: bool) -> None:
        self.is_strict = is_strict
        #: In the order they were tracked.
        self.events: list[dict[str, Any]] = []

    def take(self, event: dict[str, Any]) -> None:
        """Called by clients."""
        self.events.append(event)

    def named(self, event_name: str, **properties: Any) -> list[dict[str, Any]]:
        """Those of this name that have these properties (others, too, maybe)."""
        return [
            event
            for event in self.events
            if event["event_name"] == event_name
            and all(event.get("properties", {}).get(key) == value for key, value in properties.items())
        ]

    def one(self, event_name: str, **properties: Any) -> dict[str, Any]:
        """The only one of this name with these properties. Raises `AssertionError` when there is not just one."""
        found = self.named(event_name, **properties)
        if len(found) != 1:
            tracked = ", ".join(event["event_name"] for event in self.events) or "nothing"
            raise AssertionError(f"{len(found)} events `{event_name}` with {properties or 'any properties'}: {tracked}")
        return found[0]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.events)

    def __len__(self) -> int:
        return len(self.events)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.events[index]


@contextlib.contextmanager
def capture(strict: Optional[bool] = True) -> Iterator[CapturedEvents]:
    """While it lasts, the events of every client of this process are kept here and nothing is sent, whether clients
    are enabled or not. `strict`: an invalid event raises where it is tracked."""
    captured = CapturedEvents(bool(strict))
    pipeline.captures.append(captured)
    try:
        yield captured
    finally:
        pipeline.captures.remove(captured)
