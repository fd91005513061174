"""Product telemetry for TTF: time to first value, per user.

from telemetry.client import TelemetryClient

client = TelemetryClient()  # TELEMETRY_URL, TELEMETRY_API_KEY
client.track_ttf_milestone("first_project_created", user_id="user_123")
"""

from ._version import VERSION as __version__
from .aio import AsyncTelemetryClient
from .client import NullClient, TelemetryClient
from .config import Lost, Options
from .errors import ConfigurationError, DroppedError, InvalidEventError, TelemetryError, Violation
from .milestones import CustomMilestone, MilestoneName
from .privacy import MASK_DETECTED, HashKey, PrivacyPolicy
from .queue import Stats

__all__ = [
    "MASK_DETECTED",
    "AsyncTelemetryClient",
    "ConfigurationError",
    "CustomMilestone",
    "DroppedError",
    "HashKey",
    "InvalidEventError",
    "Lost",
    "MilestoneName",
    "NullClient",
    "Options",
    "PrivacyPolicy",
    "Stats",
    "TelemetryClient",
    "TelemetryError",
    "Violation",
    "__version__",
]
