"""The two programs: how each is started, and how everything it has kept is taken away."""

import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from ttfbench.process import Process, free_port
from ttfbench.streams.site import Site

# A killed member holds its partitions for so long.
SESSION_TIMEOUT_MS = 6_000


@dataclass(frozen=True)
class Settings:
    """What both programs are told alike."""

    partitions: int = 12
    commit_interval_ms: int = 200
    threads: int = 1


class Ours:
    """`ttf processor`, alone."""

    name = "ours"
    group = "ttf-processor"
    records = "telemetry.ttf.records.v1"
    breaches = "telemetry.ttf.breaches.v1"
    changelogs = ["telemetry.ttf.state.v1"]

    def __init__(self, site: Site) -> None:
        self.site = site
        self.folder = site.folder / "ours"
        self.state_dir = self.folder / "state"

    def reset(self, settings: Settings) -> None:
        self.site.call("reset", "--groups", self.group, "--catalogue")
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        file = self.configure(settings, free_port())
        subprocess.run([self.site.ttf, "topics", "apply", "--config", file], check=True, stdout=subprocess.DEVNULL)

    def configure(self, settings: Settings, port: int) -> Path:
        configuration = {
            "service": {"admin_listen": f"127.0.0.1:{port}"},
            "log": {
                "kind": "kafka",
                "brokers": self.site.brokers,
                "properties": {"session.timeout.ms": str(SESSION_TIMEOUT_MS)},
            },
            "topics": {"partitions": settings.partitions, "replication_factor": 1, "min_insync_replicas": 1},
            "processor": {
                "state_dir": str(self.state_dir),
                "commit_interval": f"{settings.commit_interval_ms}ms",
                "workers": settings.threads,
            },
        }
        file = self.folder / "telemetry.yaml"
        file.write_text(json.dumps(configuration))  # JSON is YAML.
        return file

    def start(self, settings: Settings) -> Process:
        port = free_port()
        file = self.configure(settings, port)
        return Process(self.site.ttf, ["processor", "--config", str(file)], port, self.folder / "log")


class KafkaStreams:
    """The same topology on Kafka Streams, in Java."""

    name = "kafka_streams"
    group = "kafka-streams-peer"
    records = "peer.ttf.records.v1"
    breaches = "peer.ttf.breaches.v1"
    changelogs = [f"{group}-journeys-changelog"]
    java = ["-Xms2g", "-Xmx2g", "-XX:+UseG1GC", "-XX:+AlwaysPreTouch", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]

    def __init__(self, site: Site) -> None:
        self.site = site
        self.folder = site.folder / "kafka-streams"
        self.state_dir = self.folder / "state"

    def reset(self, settings: Settings) -> None:
        topics = ",".join([self.records, self.breaches, *self.changelogs])
        created = ",".join([self.records, self.breaches])
        self.site.call(
            *("reset", "--groups", self.group, "--delete", topics),
            *("--create", created, "--partitions", settings.partitions),
        )
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)

    def start(self, settings: Settings) -> Process:
        port = free_port()
        environment = {
            "PEER_BROKERS": self.site.brokers,
            "PEER_STATE_DIR": str(self.state_dir),
            "PEER_COMMIT_INTERVAL_MS": str(settings.commit_interval_ms),
            "PEER_THREADS": str(settings.threads),
            "PEER_SESSION_TIMEOUT_MS": str(SESSION_TIMEOUT_MS),
            "PEER_CACHE_BYTES": os.environ.get("BENCH_STREAMS_CACHE_BYTES", str(256 << 20)),
            "PEER_PORT": str(port),
        }
        java = os.environ.get("BENCH_STREAMS_JAVA_OPTIONS", "").split() or self.java
        args = [*java, "-cp", f"{self.site.peer}/classes:{self.site.peer}/libs/*", "io.ttf.bench.Main"]
        return Process(Path(shutil.which("java") or "java"), args, port, self.folder / "log", environment)


def end(process: Process) -> None:
    """Ends it in good order; Java says 143 to SIGTERM where we say 0."""
    process.child.terminate()
    code = process.child.wait(timeout=120)
    if code not in (0, 143):
        raise RuntimeError(f"{process.log} ended with {code}:\n{process.log.read_text()[-2000:]}")


def kill(process: Process) -> None:
    process.child.kill()
    process.child.wait()


def processed(site: Site, program: Ours | KafkaStreams, process: Process, warm_up: int = 0) -> dict:
    """Waits until the program has committed every event; what it took is measured after the warm-up."""
    try:
        return site.call("measure", "--pid", process.pid, "--group", program.group, "--warm-up", warm_up)
    except RuntimeError as error:
        raise RuntimeError(f"{error}; the end of {process.log}:\n{process.log.read_text()[-3000:]}") from None


def settled(site: Site, topic: str, seconds: float = 4.0) -> None:
    """Waits until nothing has been added to a topic for a while."""
    seen, since = -1, time.monotonic()
    while time.monotonic() - since < seconds:
        now = site.offsets(topic)
        if now != seen:
            seen, since = now, time.monotonic()
        time.sleep(0.25)
