"""Sends N events with PostHog's own client: posthog_client.py URL N [v1]. The record numbered 3 is one the gateway refuses."""

import sys

from posthog import Posthog

url, count = sys.argv[1], int(sys.argv[2])
mode = sys.argv[3] if len(sys.argv) > 3 else "v0"
errors = []
client = Posthog(
    "phc_test", host=url, flush_at=10, flush_interval=0.1, gzip=True, max_retries=6, capture_mode=mode,
    on_error=lambda e, batch: errors.append(e),
)
client.set(distinct_id=f"posthog-{mode}-0", properties={"plan": "pro"})
client.group_identify("company", "acme", {"size": 3})
for number in range(count):
    properties = {"number": number}
    if number == 3:
        properties["note"] = "x" * 9000
    client.capture("Project Created", distinct_id=f"posthog-{mode}-{number}", properties=properties)
client.flush()
client.shutdown()
# The newer protocol tells of the one record that was refused, the older one has no words for it.
fatal = [e for e in errors if not getattr(e, "drops", None) or e.retry_exhausted]
sys.exit(f"not delivered: {fatal}" if fatal else 0)
