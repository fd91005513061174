"""When to try again. Pure but for the random number it is given."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Optional


@dataclass(frozen=True)
class Backoff:
    """Exponential backoff with full jitter (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter).

    All in seconds. `Retry-After` is obeyed up to `longest_asked`: a broken proxy must not silence a client for a day.
    """

    first: float = 0.5
    longest: float = 60.0
    longest_asked: float = 300.0

    def delay(self, failures: int, asked: Optional[float], random: Callable[[], float]) -> float:
        """How long to wait after so many failures in a row, at least 1. `random` gives numbers from 0 to 1."""
        ceiling = min(self.longest, self.first * 2.0 ** min(failures - 1, 30))
        jittered = ceiling * (0.5 + 0.5 * random())
        if asked is None:
            return jittered
        # Everybody was asked to come back at the same second; a little later is kinder.
        return min(asked, self.longest_asked) + min(jittered, 1.0) * random()


def retry_after(headers: Mapping[str, str], now: Callable[[], float] = time.time) -> Optional[float]:
    """Seconds that `Retry-After` asks for (a number or an HTTP date); `None` without one that can be read."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    if not value:
        return None
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now())
    except (TypeError, ValueError, OverflowError):
        return None
