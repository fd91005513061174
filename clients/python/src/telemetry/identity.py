"""Ids and times of events."""

from __future__ import annotations

import os
import random
import time
from datetime import datetime, timezone
from typing import Union

Timestamp = Union[datetime, str, int, float]


class EventIds:
    """Makes UUIDv7s (RFC 9562): 48 bits of milliseconds, 74 random bits. One per process."""

    def __init__(self) -> None:
        # Seeded by the system: quicker than asking it for every event, and as unlikely to repeat.
        self._random = random.Random(os.urandom(32)).getrandbits

    def new(self, at_ns: int) -> str:
        """An id for an event made `at_ns` nanoseconds after 1970."""
        bits = self._random(74)
        milliseconds = at_ns // 1_000_000
        value = (milliseconds & 0xFFFFFFFFFFFF) << 80 | 0x7 << 76 | (bits >> 62) << 64
        value |= 0b10 << 62 | (bits & 0x3FFFFFFFFFFFFFFF)
        text = f"{value:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


_second: tuple[int, str] = (-1, "")


def rfc3339(at_ns: int) -> str:
    """Nanoseconds after 1970 as `2026-11-23T09:30:00.123Z`."""
    global _second
    whole, rest = divmod(at_ns, 1_000_000_000)
    known, text = _second
    if known != whole:
        text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
        _second = (whole, text)
    return f"{text}.{rest // 1_000_000:03d}Z"


def stated(timestamp: Timestamp) -> str:
    """A time that the application states: a `datetime` (naive: local time), RFC 3339, or seconds since 1970."""
    if isinstance(timestamp, str):
        return timestamp
    if isinstance(timestamp, datetime):
        moment = timestamp if timestamp.tzinfo else timestamp.astimezone()
        return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return rfc3339(round(timestamp * 1000) * 1_000_000)
