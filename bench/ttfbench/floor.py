"""What the log underneath could do at best with the same bytes, measured in the same run."""

import os
import re
import subprocess
import time
from pathlib import Path


def append_and_sync(file: Path, bodies: list[bytes]) -> float:
    """Appends each body to a file and waits until it is on the disk; returns bodies per second."""
    out = os.open(file, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    try:
        began = time.perf_counter()
        for body in bodies:
            os.write(out, body)
            os.fdatasync(out)
        return len(bodies) / (time.perf_counter() - began)
    finally:
        os.close(out)


def kafka_producer(libs: str, brokers: str, partitions: int, events: list[bytes], folder: Path) -> float:
    """Kafka's own benchmark producer with our producer's settings and the same events; returns events per second."""
    payloads = folder / "payloads.ndjson"
    payloads.write_bytes(b"\n".join(events) + b"\n")
    java = ["java", "-Xmx512m", "-cp", f"{libs}/*"]
    topic = "bench.floor"
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    subprocess.run(
        [*java, "org.apache.kafka.tools.TopicCommand", "--bootstrap-server", brokers, "--create", "--topic", topic]
        + ["--partitions", str(partitions), "--replication-factor", "1"],
        check=True,
        **quiet,
    )
    done = subprocess.run(
        [*java, "org.apache.kafka.tools.ProducerPerformance", "--topic", topic, "--num-records", str(len(events))]
        + ["--payload-file", str(payloads), "--throughput", "-1", "--producer-props", f"bootstrap.servers={brokers}"]
        + ["acks=all", "enable.idempotence=true", "linger.ms=2", "compression.type=lz4"],
        check=True,
        **quiet,
    )
    payloads.unlink()
    rates = re.findall(r"records sent, ([0-9.]+) records/sec", done.stdout)
    if not rates:
        raise RuntimeError(f"no rate in what the producer printed:\n{done.stdout}")
    return float(rates[-1])
