"""What can go wrong, as types. Applications see them only in strict mode, from `doctor`, or when a client is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional


class TelemetryError(Exception):
    """Anything this package raises."""


class ConfigurationError(TelemetryError):
    """An option that cannot be carried out. Raised when a client is made, in every mode."""


@dataclass(frozen=True)
class Violation:
    """One thing that is wrong with an event. Never holds a value of the event, only names."""

    #: The gateway's code, such as `required_missing` (docs/api.md).
    code: str
    #: JSON Pointer into the event; empty for the event itself.
    path: str
    message: str
    #: What would be right, where that can be said.
    hint: Optional[str] = None

    def __str__(self) -> str:
        where = f"{self.path[1:].replace('/', '.')}: " if self.path else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{where}{self.message}{hint}"


class InvalidEventError(TelemetryError):
    """An event does not meet the schema. `violations` is never empty."""

    def __init__(self, violations: list[Violation]) -> None:
        super().__init__("; ".join(str(violation) for violation in violations))
        self.violations = violations


class DroppedError(TelemetryError):
    """Strict mode: an event was not taken. `reason` is a key of `Stats.dropped_by`."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the event was dropped: {reason}")
        self.reason = reason
