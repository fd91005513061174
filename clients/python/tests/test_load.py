"""A million events from eight threads: memory stays flat, and every one of them is accounted for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import json, os, sys, threading
from telemetry import TelemetryClient
from telemetry.verdict import Next, Verdict

class Sink:
    bytes_sent = 0
    count = 0
    def send(self, payloads, timeout):
        self.count += len(payloads)
        return Verdict(Next.DONE, dict.fromkeys(range(len(payloads)), "accepted"))
    def close(self): pass
    def forget(self): pass

def rss():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

sink = Sink()
client = TelemetryClient(transport=sink, when_full="block", block_timeout=60, max_queue_events=5000)
properties = {"plan": "pro", "template": "blank", "count": 3, "is_new": True}
dropped = [0] * 8
samples = []

def write(writer):
    for number in range(125_000):
        if client.track("first_project_created", user_id=f"u{number % 1000}", properties=properties) is None:
            dropped[writer] += 1
        if writer == 0 and number % 5_000 == 0:
            samples.append(rss())
            assert client.stats().unaccounted == 0

threads = [threading.Thread(target=write, args=(writer,)) for writer in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert client.flush(60)
stats = client.stats()
assert (stats.created, stats.accepted, stats.unaccounted, sum(dropped)) == (1_000_000, 1_000_000, 0, 0), stats
assert sink.count == 1_000_000
print(json.dumps({"early": max(samples[2:6]), "late": max(samples[-4:]), "peak": max(samples)}))
"""


@pytest.mark.slow
def test_a_million_events_take_no_more_memory_than_a_few(tmp_path: Path) -> None:
    import json

    done = subprocess.run([sys.executable, "-c", SCRIPT], check=True, capture_output=True, text=True, timeout=300)
    figures = json.loads(done.stdout)
    assert figures["late"] - figures["early"] < 8 * 1024 * 1024, figures
    assert figures["peak"] < 150 * 1024 * 1024, figures
