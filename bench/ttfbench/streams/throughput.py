"""Records per CPU second: both programs on the same events, one after the other, in turn; and the floor."""

from ttfbench.streams.programs import KafkaStreams, Ours, Settings, end, processed
from ttfbench.streams.site import EVENTS, Site, whole_number


def fill(site: Site) -> dict:
    site.empty(whole_number("PARTITIONS", 12))
    return site.generate(whole_number("USERS", 300_000), whole_number("EVENTS_PER_USER", 20))


def one(site: Site, program: Ours | KafkaStreams, settings: Settings) -> dict:
    """One run from nothing. The first half of the events makes it warm and is not measured."""
    program.reset(settings)
    process = program.start(settings)
    try:
        measured = processed(site, program, process, whole_number("WARM_UP", site.offsets(EVENTS) // 2))
        end(process)
        return measured
    finally:
        process.child.kill()


def run(site: Site) -> dict:
    filled = fill(site)
    print(f"{filled['events']:,} events of {filled['users']:,} users, {filled['milestones']:,} of them milestones")
    settings = Settings(partitions=site.partitions(), threads=whole_number("THREADS", 1))
    programs = [Ours(site), KafkaStreams(site)]
    rounds: dict[str, list[dict]] = {"ours": [], "kafka_streams": [], "floor": []}
    for _ in range(whole_number("ROUNDS", 2)):
        rounds["floor"].append(site.call("floor"))
        for program in programs:
            rounds[program.name].append(one(site, program, settings))
    result: dict = {"generated": filled} | {name: summary(of) for name, of in rounds.items()}
    ours, peer, floor = (result[name]["records_per_cpu_second"] for name in ("ours", "kafka_streams", "floor"))
    result |= {"ratio": round(ours / peer, 2), "ratio_to_floor": round(ours / floor, 3)}
    for program in programs:
        result[program.name]["records_out_offsets"] = site.offsets(program.records)
    show(rounds, result)
    return result


def summary(rounds: list[dict]) -> dict:
    """All rounds together."""
    records, cpu, wall = (sum(of[name] for of in rounds) for name in ("records", "cpu_seconds", "wall_seconds"))
    return {
        "records_per_cpu_second": round(records / cpu),
        "records_per_second": round(records / wall),
        "each_records_per_cpu_second": [round(of["records_per_cpu_second"]) for of in rounds],
        "rss_peak_bytes": max((of.get("rss_peak_bytes", 0) for of in rounds), default=0),
    }


def show(rounds: dict[str, list[dict]], result: dict) -> None:
    print(f"\n{'':<16}{'round':>6}{'records':>12}{'CPU s':>9}{'wall s':>9}", end="")
    print(f"{'records/CPU s':>15}{'records/s':>12}{'RSS MB':>9}")
    for name, measured in rounds.items():
        for number, of in enumerate(measured, 1):
            print(
                f"{name:<16}{number:>6}{of['records']:>12,}{of['cpu_seconds']:>9.2f}{of['wall_seconds']:>9.2f}"
                f"{of['records_per_cpu_second']:>15,.0f}{of['records_per_second']:>12,.0f}"
                f"{of.get('rss_peak_bytes', 0) / 1e6:>9,.0f}"
            )
    print(f"ours / kafka_streams: {result['ratio']}; ours / floor: {result['ratio_to_floor']}")
