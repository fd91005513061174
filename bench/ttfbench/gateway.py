"""The gateway next to its floor: the same bodies over HTTP to both, Kafka behind both.

The floor is `ttf-bench raw-gateway`: a server on the same HTTP library with the same producer, which publishes each
body as it is. Both run in turn, each as a new process on new topics.
"""

import hashlib
import itertools
import json
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from ttfbench import kafka, report, stages
from ttfbench.process import Process, free_port

KEY = "bench-key-of-nobody"
NOISY = {"noisy": "bench-key-of-a-neighbour", "limited": "bench-key-of-a-limited-neighbour"}
# What a neighbour with limits may send; it tries many times as much.
LIMITS = {"events_per_second": 1000, "events_burst": 2000}
EVENTS = "telemetry.events.v1"
REJECTED = "telemetry.events.rejected.v1"
FLOOR = "bench.gateway.floor"
# A body as one record, and cut into as many as it has events, with keys: what the producer and the broker cost alone.
FLOORS = ["floor", "floor_in_records"]
# Of the capacity that was found, for the time an answer takes.
SHARE = 0.5


@dataclass(frozen=True)
class Size:
    """How long, and how much at once."""

    seconds: float
    warm_up: float
    rounds: int
    soak_seconds: float

    @classmethod
    def of_environment(cls) -> "Size":
        def number(name: str, default: float) -> float:
            return float(os.environ.get(f"BENCH_GATEWAY_{name}", default))

        return cls(
            number("SECONDS", 10),
            number("WARM_UP", 3),
            int(number("ROUNDS", 2)),
            number("SOAK_SECONDS", 60),
        )


@dataclass(frozen=True)
class Shape:
    """What a request has, and how many are under way at once: enough to keep the machine busy."""

    name: str
    events: int
    connections: int


SHAPES = [Shape("single", 1, 512), Shape("batch_of_100", 100, 32)]


class Bench:
    """The programs, the broker, and a folder for what they keep."""

    def __init__(self, binary: Path, tool: Path, folder: Path) -> None:
        self.binary, self.tool, self.folder = binary, tool, folder
        self.brokers = os.environ["TTF_TEST_KAFKA"]
        self.broker_pid = kafka.server_pids()["kafka/1"]
        self.size = Size.of_environment()

    def call(self, *args: object) -> dict:
        """Runs `ttf-bench` and returns what it tells."""
        command = [str(self.tool), "--brokers", self.brokers, *map(str, args)]
        done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}")
        return json.loads(done.stdout)

    def new_topics(self) -> None:
        topics = f"{EVENTS},{REJECTED},{FLOOR}"
        self.call("reset", "--delete", topics, "--create", topics, "--partitions", kafka.PARTITIONS)

    def gateway(self) -> Process:
        port = free_port()
        file = self.folder / "gateway.yaml"
        # JSON is YAML.
        file.write_text(json.dumps(configuration(self.brokers, port)))
        log = self.folder / "gateway.log"
        with log.open("ab") as out:
            subprocess.run([self.binary, "topics", "apply", "--config", file], check=True, stdout=out, stderr=out)
        return Process(self.binary, ["gateway", "--config", str(file)], port, log)

    def floor(self, shape: Shape, in_records: bool) -> Process:
        port = free_port()
        args = ["--brokers", self.brokers, "raw-gateway", "--listen", f"127.0.0.1:{port}", "--topic", FLOOR]
        args += ["--events", str(shape.events)]
        if in_records:
            args += ["--records", str(shape.events), "--keys"]
        return Process(self.tool, args, port, self.folder / "floor.log")

    def load(self, process: Process, shape: Shape, seconds: float, rate: float | None = None) -> dict:
        told = self.call(*self.http_load(process, shape, seconds, rate, KEY))
        server, broker = told.pop("processes")
        told["events_per_cpu_second"] = told["events"] / max(server["cpu_seconds"], 0.01)
        return told | {"server": server, "broker_cpu_seconds": broker["cpu_seconds"]}

    def http_load(self, process: Process, shape: Shape, seconds: float, rate: float | None, key: str) -> list[object]:
        args = ["http-load", "--to", f"{process.host}:{process.port}", "--key", key, "--events", shape.events]
        args += ["--connections", shape.connections, "--warm-up", self.size.warm_up, "--seconds", seconds]
        args += ["--pids", f"{process.pid},{self.broker_pid}"]
        return [*args, *(("--rate", rate) if rate else ())]

    def start(self, *args: object) -> subprocess.Popen:
        """Starts `ttf-bench` beside everything else."""
        command = [str(self.tool), "--brokers", self.brokers, *map(str, args)]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def configuration(brokers: str, port: int) -> dict:
    """The gateway as it comes, the detectors of personal data on, with a key and a tracking plan."""
    properties = {
        "plan": {"type": "string", "required": True, "values": ["free", "team", "enterprise"]},
        "source": {"type": "string"},
        "page": {"type": "string", "max": 500},
        "project_id": {"type": "string", "required": True, "min": 5},
        "count": {"type": "integer", "min": 0},
        "duration_ms": {"type": "number", "min": 0},
        "tags": {"type": "list"},
        "note": {"type": "string"},
    }
    milestones = ["signup", "first_project_created", "first_agent_created", "first_workflow_created", "first_success"]
    others = ["docs_opened", "agent_edited", "workflow_run", "invite_sent", "search_used"]
    named = [(name, "ttf_milestone") for name in milestones] + [(name, "track") for name in others]
    events = [
        {"name": name, "types": [kind], "properties": properties, "additional_properties": False}
        for name, kind in named
    ]

    def tenant(key: str) -> dict:
        sha256 = hashlib.sha256(key.encode()).hexdigest()
        return {"keys": [{"name": "bench", "sha256": sha256, "scopes": ["ingest"]}]}

    tenants = {"default": tenant(KEY)} | {name: tenant(key) for name, key in NOISY.items()}
    tenants["limited"]["limits"] = LIMITS

    return {
        "service": {"admin_listen": f"127.0.0.1:{free_port()}"},
        "log": {"kind": "kafka", "brokers": brokers},
        "topics": {"partitions": kafka.PARTITIONS, "replication_factor": 1, "min_insync_replicas": 1},
        "gateway": {"listen": f"127.0.0.1:{port}", "auth": {"mode": "required"}},
        "tenants": tenants,
        # An event that is not as planned would be rejected, and end the run.
        "plan": {name: {"mode": "block", "events": events} for name in tenants},
    }


def run(binary: Path, tool: Path, folder: Path) -> int:
    load_before = report.load_average()
    bench = Bench(binary, tool, folder)
    numbers: dict = {"rounds": bench.size.rounds}
    # The broker's first requests take it many times as long as later ones.
    told("to warm up", fresh(bench, "gateway", SHAPES[-1]))
    only = os.environ.get("BENCH_GATEWAY_ONLY")
    if only:
        numbers |= {"neighbours": neighbours, "soak": lambda of: soak(of, SHAPES[-1])}[only](bench)
        report.show("gateway", load_before, numbers)
        return 0
    for shape in SHAPES:
        numbers |= {f"{shape.name}_{key}": value for key, value in compare(bench, shape).items()}
    numbers |= neighbours(bench)
    numbers |= soak(bench, SHAPES[-1])
    if os.environ.get("BENCH_GATEWAY_PERF"):
        for shape in SHAPES:
            numbers[f"{shape.name}_cpu_microseconds_by_stage"] = by_stage(bench, shape)
    numbers["load_average_after"] = report.load_average()
    report.show("gateway", load_before, numbers)
    return 0


def compare(bench: Bench, shape: Shape) -> dict:
    """Gateway and floors in turn at full speed, then gateway and floor at half of what the gateway can take."""
    rounds: dict[str, list[dict]] = {name: [] for name in ["gateway", *FLOORS]}
    for _ in range(bench.size.rounds):
        for name, found in rounds.items():
            found.append(fresh(bench, name, shape))
            told(f"{name}, {shape.name}", found[-1])
    numbers: dict = {"connections": shape.connections, "body_bytes": rounds["gateway"][0]["body_bytes"]}
    for name, found in rounds.items():
        numbers |= {f"{name}_{key}": value for key, value in together(found).items()}
    for name in FLOORS:
        floor = numbers[f"{name}_events_per_cpu_second"]
        numbers[f"ratio_to_{name}"] = round(numbers["gateway_events_per_cpu_second"] / floor, 4)
    rate = SHARE * numbers["gateway_events_per_second"] / shape.events
    for name in rounds:
        half = fresh(bench, name, shape, rate)
        told(f"{name}, {shape.name}, {rate:,.0f} requests/s", half)
        numbers[f"{name}_at_half_load_events_per_second"] = round(half["events_per_second"])
        for key in ("p50_ms", "p99_ms", "max_ms"):
            numbers[f"{name}_at_half_load_{key}"] = round(half[key], 3)
    return numbers


def fresh(bench: Bench, name: str, shape: Shape, rate: float | None = None) -> dict:
    """One run of a new process on new topics."""
    bench.new_topics()
    process = bench.gateway() if name == "gateway" else bench.floor(shape, name == "floor_in_records")
    try:
        process.wait_ready()
        return bench.load(process, shape, bench.size.seconds, rate)
    finally:
        process.stop()


def together(rounds: list[dict]) -> dict:
    """Of all rounds: what was done over what it took."""
    events = sum(of["events"] for of in rounds)
    return {
        "events_per_second": round(events / sum(of["seconds"] for of in rounds)),
        "events_per_cpu_second": round(events / max(sum(of["server"]["cpu_seconds"] for of in rounds), 0.01)),
        "events_per_cpu_second_by_round": [round(of["events_per_cpu_second"]) for of in rounds],
        "cpu_microseconds_per_event": round(1e6 * sum(of["server"]["cpu_seconds"] for of in rounds) / events, 3),
        "broker_cpu_microseconds_per_event": round(1e6 * sum(of["broker_cpu_seconds"] for of in rounds) / events, 3),
        "sender_cores": round(max(of["own_cores"] for of in rounds), 3),
        "full_load_p50_ms": round(max(of["p50_ms"] for of in rounds), 3),
        "full_load_p99_ms": round(max(of["p99_ms"] for of in rounds), 3),
        "rss_peak_bytes": max(of["server"]["rss_peak_bytes"] for of in rounds),
    }


def neighbours(bench: Bench) -> dict:
    """What a quiet tenant waits on one gateway: alone, and beside one that sends as fast as it is answered, with limits or none."""
    quiet, noisy, rate = Shape("quiet", 1, 16), SHAPES[-1], 100.0
    bench.new_topics()
    process = bench.gateway()
    noise = None
    numbers: dict = {}
    try:
        process.wait_ready()
        for name in ("alone", "beside_limited", "beside_noisy", "alone_again"):
            key = NOISY.get(name.removeprefix("beside_"))
            if key:
                # Longer than the quiet one, which stops it.
                args = bench.http_load(process, noisy, 10 * bench.size.seconds + 60, None, key)
                noise = bench.start(*args, "--refusals")
            found = bench.load(process, quiet, bench.size.seconds, rate)
            if noise:
                if noise.poll() is not None:
                    raise RuntimeError(f"the noisy tenant's sender ended with {noise.returncode}")
                noise.terminate()
                noise.wait()
                noise = None
            told(f"a quiet tenant, {name}", found)
            numbers |= {f"quiet_tenant_{name}_{key}": round(found[key], 3) for key in ("p50_ms", "p99_ms", "max_ms")}
            numbers[f"quiet_tenant_{name}_accepted"] = found["accepted_in_all"]
    finally:
        if noise:
            noise.terminate()
            noise.wait()
        process.stop()
    alone = numbers["quiet_tenant_alone_p99_ms"]
    for name in NOISY:
        numbers[f"quiet_tenant_beside_{name}_p99_ratio"] = round(numbers[f"quiet_tenant_beside_{name}_p99_ms"] / alone, 2)
    return numbers


def soak(bench: Bench, shape: Shape) -> dict:
    """Resident memory under full load."""
    if not bench.size.soak_seconds:
        return {}
    bench.new_topics()
    process = bench.gateway()
    try:
        process.wait_ready()
        ready = process.memory_bytes("VmRSS")
        found = bench.load(process, shape, bench.size.soak_seconds)
    finally:
        process.stop()
    told(f"gateway, {bench.size.soak_seconds:.0f} s", found)
    server = found["server"]
    return {
        "soak_seconds": bench.size.soak_seconds,
        "soak_events": found["events"],
        "soak_rss_ready_bytes": ready,
        "soak_rss_before_bytes": server["rss_before_bytes"],
        "soak_rss_after_bytes": server["rss_after_bytes"],
        "soak_rss_peak_bytes": server["rss_peak_bytes"],
        "soak_rss_by_tenth_bytes": tenths(server["rss_bytes"]),
    }


def tenths(samples: list[int]) -> list[int]:
    """The mean of each tenth of the samples: growth shows, noise does not."""
    bounds = [round(len(samples) * tenth / 10) for tenth in range(11)]
    parts = [samples[begin:end] for begin, end in itertools.pairwise(bounds)]
    return [round(sum(part) / len(part)) for part in parts if part]


def by_stage(bench: Bench, shape: Shape) -> dict[str, float]:
    """CPU microseconds an event by stage, under `perf` (which costs a bit itself)."""
    bench.new_topics()
    process = bench.gateway()
    recording = None
    try:
        process.wait_ready()
        data = bench.folder / "perf.data"
        recording = stages.Recording(process.pid, data, bench.size.warm_up + 1, bench.size.seconds / 2)
        found = bench.load(process, shape, bench.size.seconds)
        shares = recording.shares()
    finally:
        if recording:
            recording.stop()
        process.stop()
    per_event = 1e6 * found["server"]["cpu_seconds"] / found["events"]
    return {stage: round(share * per_event, 3) for stage, share in shares.items()}


def told(name: str, found: dict) -> None:
    speed = f"{found['events_per_second']:,.0f} events/s, {found['events_per_cpu_second']:,.0f} per CPU second"
    times = f"p50 {found['p50_ms']:.2f} ms, p99 {found['p99_ms']:.2f} ms"
    noise = f"sender {found['own_cores']:.2f} cores, load {report.load_average()}"
    print(f"{time.strftime('%H:%M:%S')} {name}: {speed}, {times}, {noise}", flush=True)
