"""The milestones of journeys: names known to type checkers, and the nearest one for a name that is not known."""

from __future__ import annotations

from typing import NewType, Optional

from ._milestones import MILESTONES, MilestoneName
from .names import nearest

#: A milestone of a journey of your own, for type checkers: `TEAM_INVITED = CustomMilestone("team_invited")`.
CustomMilestone = NewType("CustomMilestone", str)

__all__ = ["MILESTONES", "CustomMilestone", "MilestoneName", "unknown_milestone"]


def unknown_milestone(name: str, known: frozenset[str]) -> Optional[str]:
    """Why `name` is no milestone, with the nearest that is; `None` when it is one."""
    if name in known:
        return None
    near = nearest(name, known)
    hint = f"did you mean `{near}`?" if near else "name your own milestones in `TelemetryClient(milestones=[…])`"
    return f"is not a known milestone; {hint}"
