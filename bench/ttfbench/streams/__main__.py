"""The command line; `bench/streams.sh` calls it."""

import argparse
import json
import os
import platform
import sys
from datetime import datetime, timezone

from ttfbench import report
from ttfbench.streams import growth, latency, restore, throughput, validate
from ttfbench.streams.programs import KafkaStreams, Ours, Settings
from ttfbench.streams.site import Site, whole_number

PARTS = {
    "validate": validate.run,
    "throughput": throughput.run,
    "latency": latency.run,
    "restore": restore.run,
    "growth": growth.run,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="ttfbench.streams", description=__doc__)
    singles = "prepare, ours, peer, floor"
    parser.add_argument("parts", nargs="*", default=[], metavar="PART", help=f"{', '.join(PARTS)}; {singles}")
    parts = parser.parse_args().parts or list(PARTS)
    site = Site.of_environment()
    single = {
        "prepare": lambda: throughput.fill(site),
        "ours": lambda: alone(site, Ours(site)),
        "peer": lambda: alone(site, KafkaStreams(site)),
        "floor": lambda: site.call("floor"),
    }
    if parts[0] in single:
        print(json.dumps(single[parts[0]]()))
        return 0
    machine = {
        "benchmark": "streams",
        "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "load_average_before": report.load_average(),
    }
    results: dict = {}
    for part in parts:
        print(f"\n== {part}", flush=True)
        found = PARTS[part](site)
        # What the comparison is about stands at the top.
        results |= found if part == "throughput" else {part: found}
    print(json.dumps(machine | results), flush=True)
    return 0


def alone(site: Site, program: Ours | KafkaStreams) -> dict:
    """One run of one program on what `prepare` has made."""
    settings = Settings(site.partitions(), whole_number("COMMIT_INTERVAL_MS", 200), whole_number("THREADS", 1))
    return throughput.one(site, program, settings)


sys.exit(main())
