"""The command line of the benchmarks; `bench/run.sh` calls it."""

import argparse
import os
import sys
from pathlib import Path

from ttfbench import gateway, memory, pipe, start


def whole_number(name: str, default: int) -> int:
    return int(os.environ.get(name, default))


def main() -> int:
    parser = argparse.ArgumentParser(prog="ttfbench", description=__doc__)
    parser.add_argument("--binary", type=Path, required=True)
    parser.add_argument("--tool", type=Path, help="`ttf-bench`, for the gateway")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("benchmark", choices=["pipe", "memory", "start", "gateway"])
    parser.add_argument("log", nargs="?", choices=["embedded", "kafka"])
    args = parser.parse_args()
    if args.benchmark == "pipe":
        plan = pipe.Plan(
            events=whole_number("BENCH_EVENTS", 200_000),
            users=whole_number("BENCH_USERS", 20_000),
            connections=whole_number("BENCH_CONNECTIONS", 4),
            steady_seconds=whole_number("BENCH_STEADY_SECONDS", 20),
        )
        return pipe.run(args.binary, args.folder, args.log or "embedded", plan)
    if args.benchmark == "gateway":
        return gateway.run(args.binary, args.tool, args.folder)
    return {"memory": memory.run, "start": start.run}[args.benchmark](args.binary, args.folder)


sys.exit(main())
