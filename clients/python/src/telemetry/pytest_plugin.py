"""The fixture `telemetry_events`, known to pytest once the package is installed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .testing import CapturedEvents


@pytest.fixture
def telemetry_events() -> Iterator[CapturedEvents]:
    """Events that clients track during the test; nothing is sent. See `telemetry.testing.capture`."""
    from .testing import capture  # noqa: PLC0415 – only tests that use it pay for it

    with capture() as captured:
        yield captured
