"""What is sent: the journeys of users who all reach first success, as events in the order of their times."""

import json
import random
from datetime import datetime, timezone

MILESTONES = [
    "signup",
    "first_project_created",
    "first_agent_created",
    "first_workflow_created",
    "first_success",
]
OTHERS = ["page_viewed", "docs_opened", "agent_edited", "workflow_run", "invite_sent"]
PLANS = ["free", "pro", "enterprise"]
CHANNELS = ["organic", "ads", "partner"]
# Everybody signs up within so many seconds before now, and succeeds before now: no deadline (75 min) is missed.
SPAN_SECONDS = 3_000


def rfc3339(seconds: float) -> str:
    text = datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def event(user: str, name: str, kind: str, at: float, number: int, plan: str, channel: str) -> bytes:
    return json.dumps(
        {
            "event_name": name,
            "event_type": kind,
            "event_id": f"{user}-{number}",
            "user_id": user,
            "timestamp": rfc3339(at),
            "properties": {"screen": "onboarding", "position": number},
            "context": {
                "library": {"name": "bench", "version": "1.0"},
                "release": "2026.11",
                "segments": {"plan": plan, "channel": channel},
            },
        },
        separators=(",", ":"),
    ).encode()


def events(users: int, per_user: int, prefix: str, now: float, seed: int = 42) -> list[bytes]:
    """`per_user` events for each user: the five milestones and, between them, others; the same seed, the same cohort."""
    rng = random.Random(seed)
    made = []
    for number in range(users):
        user = f"{prefix}-{number:06}"
        plan, channel = rng.choice(PLANS), rng.choice(CHANNELS)
        signup = now - rng.uniform(0.1, 1.0) * SPAN_SECONDS
        times = sorted(rng.uniform(signup, now) for _ in range(per_user - 1))
        # The milestones are spread evenly over the user's events; the first and the last event are milestones.
        places = {round(step * (per_user - 1) / (len(MILESTONES) - 1)): name for step, name in enumerate(MILESTONES)}
        for place, at in enumerate([signup, *times]):
            name = places.get(place)
            kind = "ttf_milestone" if name else "track"
            made.append((at, event(user, name or OTHERS[place % len(OTHERS)], kind, at, place, plan, channel)))
    made.sort(key=lambda pair: pair[0])
    return [body for _, body in made]


def batches(of: list[bytes], size: int) -> list[list[bytes]]:
    return [of[first : first + size] for first in range(0, len(of), size)]
