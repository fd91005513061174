"""What one `track` call costs the application, next to the clients of PostHog and Segment, in the same run.

    bench/run.sh client          installs the peers into the cache once, runs this

One process a client and round, in turn; a server in a process of its own answers each as its own would. Two ways of
calling: `paced` (100 calls every 10 ms, as a busy web worker makes them) and `burst` (as fast as it goes). The time is
that of the call alone, on the calling thread. Defaults everywhere, but for queues large enough that nobody drops.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Callable

ROOT = Path(__file__).resolve().parent.parent
CLIENTS = ("ours", "ours-masking", "posthog", "segment")
PROPERTIES = {"plan": "pro", "project_id": "prj_123", "template": "blank", "count": 3, "is_first": True}
EVENT = "first_project_created"


def serve() -> None:
    """Takes everything; prints its port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            answer: dict[str, Any] = {"status": 1, "success": True}
            status = 200
            if self.path.startswith("/api/v1/events"):
                count = len(json.loads(body)["events"])
                answer = {"code": "accepted", "message": "", "accepted": count, "rejected": 0, "duplicate": 0, "results": []}
                status = 202
            page = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        do_GET = do_POST

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


def caller(name: str, url: str, queue: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """A call that tracks one event, and one that sends what is left."""
    if name.startswith("ours"):
        from telemetry import MASK_DETECTED, PrivacyPolicy, TelemetryClient

        policy = MASK_DETECTED if name == "ours-masking" else PrivacyPolicy()
        ours = TelemetryClient(url, max_queue_events=queue, max_queue_bytes=1 << 30, privacy=policy)
        return lambda: ours.track(EVENT, user_id="user_123", properties=PROPERTIES), lambda: ours.close(60)
    if name == "posthog":
        from posthog import Posthog

        posthog = Posthog("phc_bench", host=url, max_queue_size=queue)
        return lambda: posthog.capture(EVENT, distinct_id="user_123", properties=PROPERTIES), posthog.shutdown
    from segment.analytics.client import Client

    segment = Client("bench", host=url, max_queue_size=queue)
    return lambda: segment.track("user_123", EVENT, PROPERTIES), segment.join


def measure(name: str, url: str, calls: int) -> None:
    """Prints the times of `calls` paced and as many unpaced calls, in nanoseconds."""
    track, finish = caller(name, url, calls * 3)
    clock = time.perf_counter_ns
    for _ in range(500):
        track()
    times: dict[str, list[int]] = {"paced": [], "burst": []}
    due = time.perf_counter()
    for number in range(calls):
        if number % 100 == 0:
            due += 0.01
            time.sleep(max(0.0, due - time.perf_counter()))
        started = clock()
        track()
        times["paced"].append(clock() - started)
    for _ in range(calls):
        started = clock()
        track()
        times["burst"].append(clock() - started)
    cpu = time.process_time()
    finish()
    print(json.dumps({**times, "threads": threading.active_count(), "cpu": cpu}))


def quantile(values: list[int], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=int(os.environ.get("BENCH_CALLS", "20000")))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=2, metavar=("CLIENT", "URL"), help=argparse.SUPPRESS)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        return serve()
    if given.one:
        return measure(*given.one, given.calls)
    # One of three copies of this program at a time; the client under test is that of the checkout.
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "clients/python/src"), "PYTHONDONTWRITEBYTECODE": "1"}
    load = os.getloadavg()[0]
    server = subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
    times: dict[str, dict[str, list[list[int]]]] = {name: {"paced": [], "burst": []} for name in CLIENTS}
    try:
        for _ in range(given.rounds):
            for name in CLIENTS:
                command = [sys.executable, __file__, "--calls", str(given.calls), "--one", name, url]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
                for way, values in json.loads(done.stdout.splitlines()[-1]).items():
                    if way in times[name]:
                        times[name][way].append(values)
    finally:
        server.terminate()
        server.wait()
    report(times, given, load)


def report(times: dict[str, dict[str, list[list[int]]]], given: argparse.Namespace, load: float) -> None:
    # The median of the rounds: a neighbour that woke up in one of them should not decide.
    figures = {
        name: {
            f"{way}_{label}": round(statistics.median(quantile(values, share) for values in rounds), 2)
            for way, rounds in ways.items()
            for label, share in (("p50", 0.5), ("p99", 0.99))
        }
        for name, ways in times.items()
    }
    columns = ("paced_p50", "paced_p99", "burst_p50", "burst_p99")
    print(f"{'µs a call':<14}" + "".join(f"{column:>12}" for column in columns))
    for name, row in figures.items():
        print(f"{name:<14}" + "".join(f"{row[column]:>12.2f}" for column in columns))
    versions = {}
    from importlib.metadata import version

    for package in ("posthog", "segment-analytics-python"):
        versions[package] = version(package)
    best = {column: min(figures["posthog"][column], figures["segment"][column]) for column in columns}
    ratios = {column: round(best[column] / figures["ours"][column], 2) for column in columns}
    print("better peer / ours: " + ", ".join(f"{column} {ratio}" for column, ratio in ratios.items()))
    print(
        json.dumps(
            {
                "bench": "client",
                "python": sys.version.split()[0],
                "peers": versions,
                "calls": given.calls,
                "rounds": given.rounds,
                "load_average_before": round(load, 2),
                "microseconds": figures,
                "better_peer_over_ours": ratios,
            }
        )
    )


if __name__ == "__main__":
    main()
