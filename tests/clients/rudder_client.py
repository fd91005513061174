"""Sends N events with RudderStack's own client: rudder_client.py URL N. The record numbered 3 is one the gateway refuses."""

import sys

from rudderstack.analytics.client import Client

url, count = sys.argv[1], int(sys.argv[2])
errors = []
client = Client("test-key", host=url, upload_size=10, upload_interval=0.1, on_error=lambda e, batch: errors.append(e))
for number in range(count):
    properties = {"number": number}
    if number == 3:
        properties["note"] = "x" * 9000
    client.track(f"rudder-py-{number}", "Project Created", properties)
client.flush()
client.join()
sys.exit(f"not delivered: {errors}" if errors else 0)
