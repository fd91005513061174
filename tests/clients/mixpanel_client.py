"""Sends N events with Mixpanel's own client: mixpanel_client.py URL N. The record numbered 3 is one the gateway refuses.

Over plain HTTP this client does not try again by itself; what it could not send stays in its buffer for the next flush.
"""

import sys
import time

from mixpanel import BufferedConsumer, Mixpanel, MixpanelException

url, count = sys.argv[1], int(sys.argv[2])
consumer = BufferedConsumer(
    max_size=10, events_url=f"{url}/track", people_url=f"{url}/engage", import_url=f"{url}/import", groups_url=f"{url}/groups"
)
client = Mixpanel("test-token", consumer=consumer)


def carry_on(act):
    deadline = time.monotonic() + 30
    while True:
        try:
            return act()
        except MixpanelException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
            act = consumer.flush


carry_on(lambda: client.people_set("mixpanel-py-0", {"plan": "pro"}))
for number in range(count):
    properties = {"number": number}
    if number == 3:
        properties["note"] = "x" * 9000
    carry_on(lambda: client.track(f"mixpanel-py-{number}", "Project Created", properties))
carry_on(lambda: client.import_data("test-token", "mixpanel-py-imported", "Old Thing", int(time.time()) - 86400))
carry_on(consumer.flush)
