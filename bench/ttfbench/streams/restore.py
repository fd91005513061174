"""How long until it works again: after a clean stop, without local state, and after a kill -9."""

import shutil

from ttfbench.streams.programs import KafkaStreams, Ours, Settings, end, kill, processed
from ttfbench.streams.site import Site, disk_bytes, whole_number

READY_SECONDS = 600
# Milestones and identify events: nearly every event changes a journey.
EVENTS_PER_JOURNEY = 4


def run(site: Site) -> dict:
    settings = Settings(whole_number("PARTITIONS", 12))
    journeys = whole_number("RESTORE_JOURNEYS", 1_000_000)
    site.empty(settings.partitions)
    site.generate(journeys, EVENTS_PER_JOURNEY)
    result: dict = {"journeys": journeys}
    print("restored a second: changelog records over the time beyond that of a start with nothing to restore")
    for program in (Ours(site), KafkaStreams(site)):
        result[program.name] = of = one(site, program, settings)
        print(
            f"{program.name:<16}ready after a clean stop {of['clean_seconds']:.2f} s, "
            f"after kill -9 {of['killed_seconds']:.2f} s, without local state {of['empty_seconds']:.2f} s ({of['changelog_records']:,} records, "
            f"{of['restored_per_second'] or 'too few to tell how many'} a second; {of['disk_bytes'] / journeys:.0f} B a journey on disk)",
            flush=True,
        )
    return result


def one(site: Site, program: Ours | KafkaStreams, settings: Settings) -> dict:
    program.reset(settings)
    process = program.start(settings)
    try:
        processed(site, program, process)
        end(process)
        disk = disk_bytes(program.state_dir)
        # What is read again is what came before this: the killed run below adds little.
        records = sum(site.offsets(topic) for topic in program.changelogs)

        process = program.start(settings)
        clean = process.wait_ready(READY_SECONDS)
        # In the middle of work: these events are committed, or in an open transaction, or still to be read.
        site.generate(20_000, EVENTS_PER_JOURNEY, prefix="more")
        kill(process)
        process = program.start(settings)
        killed = process.wait_ready(READY_SECONDS)
        processed(site, program, process)
        end(process)

        shutil.rmtree(program.state_dir)
        process = program.start(settings)
        empty = process.wait_ready(READY_SECONDS)
        cpu, rss = process.cpu_seconds(), process.memory_bytes("VmRSS")
        end(process)
    finally:
        process.child.kill()
    return {
        "clean_seconds": round(clean, 3),
        "killed_seconds": round(killed, 3),
        "empty_seconds": round(empty, 3),
        "changelog_records": records,
        # Below this the difference of two starts says nothing.
        "restored_per_second": round(records / (empty - clean)) if empty - clean > 0.2 else None,
        "empty_cpu_seconds": round(cpu, 2),
        "empty_rss_bytes": rss,
        "disk_bytes": disk,
    }
