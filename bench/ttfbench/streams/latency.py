"""From an event to its committed record at a steady rate, and what of a core that takes.

librdkafka sends a produce request for each partition, Java's client one for all of a broker's, and a broker answers the
requests of a connection one after the other: with many partitions on one broker more workers (each with a producer, and
so a connection, of its own) commit sooner.
"""

import os

from ttfbench.streams.programs import KafkaStreams, Ours, Settings, end
from ttfbench.streams.site import Site, whole_number

EVENTS_PER_USER = 20


def run(site: Site) -> dict:
    intervals = [int(text) for text in os.environ.get("BENCH_STREAMS_INTERVALS", "30").split()]
    workers = [int(text) for text in os.environ.get("BENCH_STREAMS_WORKERS", "1 4").split()]
    runs: list[tuple[Ours | KafkaStreams, int, int]] = [(KafkaStreams(site), 200, 1)]
    runs += [(Ours(site), interval, count) for interval in [200, *intervals] for count in workers]
    result: dict = {"events_per_second": whole_number("RATE", 5_000)}
    print(f"{'':<25}{'p50 ms':>9}{'p90 ms':>9}{'p99 ms':>9}{'max ms':>9}{'cores':>9}{'RSS MB':>9}")
    for program, interval, threads in runs:
        of = one(site, program, interval, threads)
        name = f"{program.name}_at_{interval}_ms" + (f"_by_{threads}" if threads > 1 else "")
        print(
            f"{name:<25}{of['p50_ms']:>9.1f}{of['p90_ms']:>9.1f}{of['p99_ms']:>9.1f}{of['max_ms']:>9.1f}"
            f"{of['cores']:>9.3f}{of['rss_bytes'] / 1e6:>9,.0f}",
            flush=True,
        )
        result[name] = {key: round(value, 3) if isinstance(value, float) else value for key, value in of.items()}
    return result


def one(site: Site, program: Ours | KafkaStreams, interval: int, threads: int) -> dict:
    rate = whole_number("RATE", 5_000)
    warm_up, seconds = whole_number("LATENCY_WARM_UP", 20), whole_number("SECONDS", 25)
    settings = Settings(whole_number("PARTITIONS", 12), interval, threads)
    site.empty(settings.partitions)
    program.reset(settings)
    process = program.start(settings)
    try:
        process.wait_ready(120)
        # A fifth more users than it takes: the tail of a cohort is thinner than the rest.
        users = int(1.2 * rate * (warm_up + seconds) / EVENTS_PER_USER)
        measured = site.call(
            *("latency", "--records", program.records, "--pid", process.pid, "--rate", rate, "--warm-up", warm_up),
            *("--seconds", seconds, "--users", users, "--events-per-user", EVENTS_PER_USER),
        )
        end(process)
        return measured
    finally:
        process.child.kill()
