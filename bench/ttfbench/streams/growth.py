"""What becomes of speed, memory, disk and restart when there is more of everything."""

import os
from pathlib import Path

from ttfbench.streams import plot
from ttfbench.streams.programs import KafkaStreams, Ours, Settings, end, kill, processed
from ttfbench.streams.site import Site, disk_bytes, whole_number

EVENTS_PER_JOURNEY = 5
PLOT = Path(__file__).parents[2] / "growth.svg"
HEADER = "program|journeys|partitions|workers|records/CPU s|records/s|RSS MB|disk B/journey|restart s".split("|")


def run(site: Site) -> dict:
    sizes = [int(text) for text in os.environ.get("BENCH_STREAMS_JOURNEYS", "10000 1000000").split()]
    middle = min(sizes, key=lambda size: abs(size - 1_000_000))
    print("| " + " | ".join(HEADER) + " |\n|---|" + "---:|" * (len(HEADER) - 1))
    rows = []
    for journeys in sizes:
        fill(site, journeys, 12)
        rows.append(one(site, Ours(site), journeys, Settings(12, 200, 1)))
        if journeys == middle:
            rows.append(one(site, Ours(site), journeys, Settings(12, 200, 2)))
        if journeys <= whole_number("PEER_JOURNEYS", 1_000_000):
            rows.append(one(site, KafkaStreams(site), journeys, Settings(12, 200, 1)))
    fill(site, middle, 1)
    rows.append(one(site, Ours(site), middle, Settings(1, 200, 1)))
    if os.environ.get("BENCH_STREAMS_PLOT"):
        PLOT.write_text(plot.growth(rows))
    return {"rows": rows}


def fill(site: Site, journeys: int, partitions: int) -> None:
    site.empty(partitions)
    site.generate(journeys, EVENTS_PER_JOURNEY)


def one(site: Site, program: Ours | KafkaStreams, journeys: int, settings: Settings) -> dict:
    """Measured is the end of the events, when the state has nearly all its journeys."""
    program.reset(settings)
    process = program.start(settings)
    try:
        events = journeys * EVENTS_PER_JOURNEY
        measured = processed(site, program, process, max(events // 2, events - 2_000_000))
        kill(process)
        process = program.start(settings)
        restart = process.wait_ready(600)
        end(process)
    finally:
        process.child.kill()
    row = {
        "program": program.name,
        "journeys": journeys,
        "partitions": settings.partitions,
        "workers": settings.threads,
        "records_per_cpu_second": round(measured["records_per_cpu_second"]),
        "records_per_second": round(measured["records_per_second"]),
        "rss_bytes": measured["rss_bytes"],
        "disk_bytes_per_journey": round(disk_bytes(program.state_dir) / journeys),
        "restart_seconds": round(restart, 2),
    }
    cells = [
        *(program.name, f"{journeys:,}", settings.partitions, settings.threads),
        *(f"{row['records_per_cpu_second']:,}", f"{row['records_per_second']:,}", f"{row['rss_bytes'] / 1e6:,.0f}"),
        *(row["disk_bytes_per_journey"], row["restart_seconds"]),
    ]
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)
    return row
