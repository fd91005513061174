"""The whole pipe: events over HTTP until the journeys that come of them can be queried in the database."""

import http.client
import sqlite3
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from ttfbench import floor, journeys, kafka, load, prometheus, report
from ttfbench.process import Process, cpu_of_tree, dev

BATCH = 100
STEADY_EVENTS_PER_SECOND = 1_000
PROBES_PER_SECOND = 5
LATENCY = "ttf_pipeline_latency_seconds"
PATIENCE_SECONDS = 300


@dataclass(frozen=True)
class Plan:
    events: int
    users: int
    connections: int
    steady_seconds: int


class Sqlite:
    """The database of `ttf dev`."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def count(self, query: str) -> int:
        connection = sqlite3.connect(f"file:{self.file}?mode=ro", uri=True, timeout=30)
        try:
            return connection.execute(query).fetchone()[0]
        finally:
            connection.close()


class Postgres:
    def __init__(self, url: str) -> None:
        self.url = url

    def count(self, query: str) -> int:
        done = subprocess.run(["psql", "-qtA", self.url, "-c", query], check=True, capture_output=True, text=True)
        return int(done.stdout)


def run(binary: Path, folder: Path, log: str, plan: Plan) -> int:
    load_before = report.load_average()
    per_user = plan.events // plan.users
    events = journeys.events(plan.users, per_user, "burst", time.time())
    batches = journeys.batches(events, BATCH)
    if log == "embedded":
        data = folder / "pipe"
        process, database, servers = dev(binary, data), Sqlite(data / "ttf.sqlite"), {}
    else:
        settings = kafka.Settings.of_environment()
        process = kafka.everything(binary, folder / "pipe-kafka", settings)
        database, servers = Postgres(settings.postgres), kafka.server_pids()
    bodies = [load.body_of(batch) for batch in batches]
    try:
        process.wait_ready()
        if log == "embedded":
            appended = [floor.append_and_sync(folder / "floor-before", bodies)]
        numbers = burst(process, database, servers, batches, plan)
        numbers |= steady(process, plan)
        numbers["rss_peak_bytes"] = process.memory_bytes("VmHWM")
    finally:
        process.stop()
    if log == "embedded":
        # The disk is shared: before and after may differ a lot, and both are shown.
        appended.append(floor.append_and_sync(folder / "floor-after", bodies))
        numbers["floor"] = "append + fdatasync of each request's body to a file"
        numbers["floor_before_events_per_second"] = appended[0] * BATCH
        numbers["floor_after_events_per_second"] = appended[1] * BATCH
        numbers["floor_events_per_second"] = 2 * BATCH / sum(1 / rate for rate in appended)
    else:
        numbers["floor"] = "kafka ProducerPerformance, same events, acks=all, lz4"
        numbers["floor_events_per_second"] = floor.kafka_producer(
            settings.libs, settings.brokers, kafka.PARTITIONS, events, folder
        )
    numbers["ratio_accepted_to_floor"] = numbers["accepted_events_per_second"] / numbers["floor_events_per_second"]
    numbers["ratio_pipe_to_floor"] = numbers["pipe_events_per_second"] / numbers["floor_events_per_second"]
    report.show(f"pipe {log}", load_before, rounded(numbers))
    return 0


def burst(process: Process, database, servers: dict[str, int], batches: list[list[bytes]], plan: Plan) -> dict:
    """Everything at full speed, until the last journey is in the database as completed."""
    events = sum(map(len, batches))
    cpu, threads = process.cpu_seconds(), process.cpu_by_thread()
    servers_cpu = {name: cpu_of_tree(pid) for name, pid in servers.items()}
    sender_cpu = time.process_time()
    tally = load.full_speed(process.host, process.port, batches, plan.connections)
    sender_cpu = time.process_time() - sender_cpu
    cpu_accepted = process.cpu_seconds() - cpu
    if tally.accepted != events or tally.rejected:
        raise RuntimeError(f"{events} events sent, {tally.accepted} accepted, {tally.rejected} rejected")
    wait_for(lambda: rows_written(process) >= events, 0.05)
    in_database = time.monotonic()
    # The record of the last milestone may come after the last event.
    wait_for(lambda: database.count("SELECT count(*) FROM journeys WHERE status = 'completed'") == plan.users, 0.1)
    ended = time.monotonic()
    cpu = process.cpu_seconds() - cpu
    servers_cpu = {name: cpu_of_tree(pid) - servers_cpu[name] for name, pid in servers.items()}
    after = process.cpu_by_thread()
    by_thread = {name: used - threads.get(name, 0.0) for name, used in after.items()}
    rows = {
        name: database.count(f"SELECT count(*) FROM {name}") for name in ("events", "ttf_records", "journeys")
    }
    if rows["events"] != events or rows["journeys"] != plan.users:
        raise RuntimeError(f"{events} events of {plan.users} users became {rows}")
    busiest = sorted(by_thread.items(), key=lambda pair: -pair[1])[:10]
    return {
        "events": events,
        "users": plan.users,
        "event_bytes_mean": sum(len(event) for batch in batches for event in batch) / events,
        "events_per_request": BATCH,
        "connections": plan.connections,
        "answers": {str(status): count for status, count in sorted(tally.answers.items())},
        "events_sent_again": tally.retried,
        "accepted_seconds": tally.ended - tally.started,
        "accepted_events_per_second": events / (tally.ended - tally.started),
        "request_p50_seconds": report.percentile(tally.request_seconds, 0.50),
        "request_p99_seconds": report.percentile(tally.request_seconds, 0.99),
        "events_in_database_seconds": in_database - tally.started,
        "pipe_seconds": ended - tally.started,
        "pipe_events_per_second": events / (ended - tally.started),
        "ttf_records": rows["ttf_records"],
        "cpu_seconds": cpu,
        "cpu_seconds_until_accepted": cpu_accepted,
        "events_per_cpu_second": events / cpu,
        "servers_cpu_seconds": sum(servers_cpu.values()),
        "sender_cpu_seconds": sender_cpu,
        "rss_after_burst_bytes": process.memory_bytes("VmRSS"),
        "cpu_seconds_by_server": servers_cpu,
        "cpu_seconds_by_thread": {name: used for name, used in busiest if used >= 0.05},
    }


def steady(process: Process, plan: Plan) -> dict:
    """A modest rate on a schedule: received → event queryable, and sent → journey answered, for users of their own."""
    events = journeys.events(STEADY_EVENTS_PER_SECOND * plan.steady_seconds // 10, 10, "steady", time.time(), seed=7)
    before_text = process.metrics()
    before, written = prometheus.buckets(before_text, LATENCY), rows_written(process)
    probes = Probes(process, plan.steady_seconds)
    cpu = process.cpu_seconds()
    probes.thread.start()
    tally = load.steady(process.host, process.port, journeys.batches(events, BATCH), STEADY_EVENTS_PER_SECOND / BATCH)
    probes.thread.join()
    if probes.failure:
        raise probes.failure
    wait_for(lambda: rows_written(process) >= written + len(events) + len(probes.seconds), 0.05)
    after = prometheus.buckets(process.metrics(), LATENCY)
    return {
        "steady_events_per_second": len(events) / (tally.ended - tally.started),
        "steady_cpu_share_of_a_core": (process.cpu_seconds() - cpu) / (tally.ended - tally.started),
        "steady_request_p50_seconds": report.percentile(tally.request_seconds, 0.50),
        "steady_request_p99_seconds": report.percentile(tally.request_seconds, 0.99),
        "received_to_queryable_p50_seconds": prometheus.quantile(before, after, 0.50),
        "received_to_queryable_p99_seconds": prometheus.quantile(before, after, 0.99),
        "sent_to_journey_p50_seconds": report.percentile(probes.seconds, 0.50),
        "sent_to_journey_p99_seconds": report.percentile(probes.seconds, 0.99),
        "sent_to_journey_samples": len(probes.seconds),
    }


class Probes:
    """Signups of single users, each followed until the gateway knows the user's journey from the database."""

    def __init__(self, process: Process, seconds: int) -> None:
        self.process, self.count = process, seconds * PROBES_PER_SECOND
        self.seconds: list[float] = []
        self.failure: Exception | None = None
        self.thread = threading.Thread(target=self.follow_all)

    def follow_all(self) -> None:
        try:
            begin = time.monotonic()
            for number in range(self.count):
                time.sleep(max(0.0, begin + number / PROBES_PER_SECOND - time.monotonic()))
                self.seconds.append(self.follow(f"probe-{number:05}"))
        except Exception as error:  # reported by the thread that waits
            self.failure = error

    def follow(self, user: str) -> float:
        signup = journeys.event(user, "signup", "ttf_milestone", time.time(), 0, "pro", "ads")
        began = time.monotonic()
        load.Sender(self.process.host, self.process.port).send([signup])
        asking = http.client.HTTPConnection(self.process.host, self.process.port, timeout=10)
        while True:
            asking.request("GET", f"/api/v1/users/{user}/journey")
            response = asking.getresponse()
            response.read()
            if response.status == 200:
                asking.close()
                return time.monotonic() - began
            if time.monotonic() - began > PATIENCE_SECONDS:
                raise RuntimeError(f"the journey of {user} is not there after {PATIENCE_SECONDS} s")
            time.sleep(0.005)


def rows_written(process: Process) -> float:
    return prometheus.total(process.metrics(), "ttf_archive_rows_total", table="events", outcome="written")


def wait_for(condition, interval: float) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"the pipe is not through after {PATIENCE_SECONDS} s")
        time.sleep(interval)


def rounded(numbers: dict) -> dict:
    """No more digits than mean something."""

    def short(value: object) -> object:
        if isinstance(value, dict):
            return rounded(value)
        return round(value, 1 if abs(value) >= 100 else 4) if isinstance(value, float) else value

    return {key: short(value) for key, value in numbers.items()}
