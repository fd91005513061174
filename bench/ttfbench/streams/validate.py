"""That both programs say the same in the end: a peer that works out something else is no peer."""

from ttfbench.streams.programs import KafkaStreams, Ours, Settings, end, processed, settled
from ttfbench.streams.site import Site, whole_number

MINUTE = 60
# First signup and span, in minutes from now: every deadline (75, 120, 180 min) is missed or ten minutes away, so that
# it does not matter which program runs first.
SIGNUPS = {"missed-all": (-250, 60), "missed-one": (-108, 18), "missed-none": (-60, 20)}


def run(site: Site) -> dict:
    users = whole_number("VALIDATE_USERS", 20_000)
    settings = Settings(partitions=4)
    site.empty(settings.partitions)
    for seed, (prefix, (start, span)) in enumerate(SIGNUPS.items()):
        site.generate(users // 3, 12, start_in=start * MINUTE, span=span * MINUTE, prefix=prefix, seed=seed)
    peer = KafkaStreams(site)
    for program in (Ours(site), peer):
        program.reset(settings)
        process = program.start(settings)
        try:
            processed(site, program, process)
            settled(site, program.breaches)
            end(process)
        finally:
            process.child.kill()
    told = site.call("compare", "--other-records", peer.records, "--other-breaches", peer.breaches)
    print(f"the same final records of {told['journeys']:,} journeys and breaches of {told['deadlines']:,} deadlines")
    return told
