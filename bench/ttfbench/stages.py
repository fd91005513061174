"""CPU time by stage of a process, with `perf`: each sample belongs to the innermost function whose stage is known.

Memory, copies and locks thus count for the stage that asked for them.
"""

import re
import signal
import subprocess
import threading
from collections import Counter
from pathlib import Path

# The first pattern that matches a function decides.
STAGES = [
    ("metrics", r"prometheus"),
    ("publish", r"^rd_|rdkafka|LZ4|kafka::publisher|kafka::record|ingest_gateway::publish"),
    ("encode", r"telemetry_schemas::codec|serde_avro|schema_registry|ingest_gateway::records"),
    ("pii", r"ingest_gateway::privacy|aho_corasick"),
    ("plan", r"ingest_gateway::plan"),
    ("validate", r"ingest_gateway::(validate|judge|normalise)|event_readers::(validate|adapters)|telemetry_schemas"),
    ("parse", r"serde_json|event_readers::batch"),
    ("deduplicate", r"ingest_gateway::dedup"),
    ("http", r"hyper|axum|httparse|tower|ingest_gateway::http|tokio::net|poll_evented|io::registration"),
    ("runtime", r"tokio|mio::|std::sys|parking_lot"),
]
KNOWN = [(stage, re.compile(pattern)) for stage, pattern in STAGES]
# What the kernel does counts for the function that called it.
FRAME = re.compile(r"^\s+[0-9a-f]+ (.*) \((?!\[kernel)[^)]*\)$")


class Recording:
    """Begins after a while, and lasts for so long."""

    def __init__(self, pid: int, data: Path, after: float, seconds: float) -> None:
        self.data, self.seconds = data, seconds
        self.child: subprocess.Popen | None = None
        self.timer = threading.Timer(after, self.record, [pid])
        self.timer.start()

    def record(self, pid: int) -> None:
        command = ["perf", "record", "-q", "-F", "199", "--call-graph", "dwarf,16384", "-p", str(pid)]
        self.child = subprocess.Popen(
            [*command, "-o", self.data, "--", "sleep", str(self.seconds)], stdout=subprocess.DEVNULL
        )

    def shares(self) -> dict[str, float]:
        """The share of each stage."""
        self.timer.join()
        if self.child is None or self.child.wait() != 0:
            raise RuntimeError("perf could not record")
        script = ["perf", "script", "--no-inline", "-F", "ip,sym,dso", "-i", str(self.data)]
        done = subprocess.run(script, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        found = Counter(stage_of(sample) for sample in done.stdout.split("\n\n") if sample.strip())
        return {stage: count / found.total() for stage, count in found.most_common()}

    def stop(self) -> None:
        self.timer.cancel()
        if self.child and self.child.poll() is None:
            self.child.send_signal(signal.SIGINT)
            self.child.wait()


def stage_of(sample: str) -> str:
    for line in sample.splitlines():
        frame = FRAME.match(line)
        for stage, pattern in KNOWN if frame else []:
            if pattern.search(frame[1]):
                return stage
    return "other"
