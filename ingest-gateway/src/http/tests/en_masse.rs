//! Malformed inputs by the hundred thousand: each gets its one outcome, and memory stays where it was.
//! `TTF_TEST_INPUTS=1000000` makes it a million (a minute or two without optimisation).

use std::{process::Command, sync::Arc, thread};

use bytes::Bytes;
use service_kit::Kit;
use telemetry_schemas::{Codec, time::EventTime};

use super::malformed::{SmallRandom, mangled};
use crate::{
    adapters::{Adapter, Dialect, mixpanel, posthog, segment},
    batch::{self, Form, RawEvent, Unreadable},
    judge::{Judge, Judged, Reception},
    outcome::{Outcome, Tally},
    records::Records,
    testing,
};

/// Where nothing else is asked for.
const INPUTS: u64 = 100_000;
const THREADS: u64 = 2;

/// What allocators keep at hand differs by more than nothing; a leak of 160 bytes an input shows, of 16 with a million.
const GROWTH: u64 = 16 << 20;

const RECEIVED_AT: EventTime = EventTime(1_795_392_000_000);

struct Bench {
    judge: Judge,
    records: Records,
}

fn bench(kit: &Kit) -> Bench {
    Bench { judge: testing::judge(kit.metrics()), records: Records::new(Codec::without_registry()) }
}

impl Bench {
    /// Decides about one input as the gateway does once its body is in; the number of events it was.
    fn decide(&self, body: &Bytes, way: usize) -> u64 {
        let reception =
            Reception { tenant: "acme", source: "http", received_at: RECEIVED_AT, sent_at: None, origin: None };
        let foreign = |dialect: Dialect, list: &str| {
            let adapter = Adapter { dialect, names: Arc::default(), own_key: None };
            let judged = |raw: &RawEvent| self.judge.translated(raw, &adapter, &reception);
            batch::split_foreign(body, list, 100).map(|batch| batch.records.iter().map(judged).collect::<Vec<_>>())
        };
        let native = |form| {
            let judged = |raw: &RawEvent| self.judge.event(raw, &reception);
            batch::split(body, form, 100).map(|batch| batch.events.iter().map(judged).collect())
        };
        let judged = match way {
            0 => native(Form::Json),
            1 => native(Form::Ndjson),
            2 => foreign(Dialect::Segment(segment::Batch::default()), "batch"),
            3 => foreign(Dialect::PostHog(posthog::Batch::default()), "batch"),
            4 => foreign(Dialect::Mixpanel(mixpanel::Endpoint::Events), "batch"),
            _ => foreign(Dialect::CloudEvents, ""),
        };
        let judged = judged.unwrap_or_else(|unreadable| match unreadable {
            Unreadable::Malformed(violation) => {
                vec![Judged::Rejected(Box::new(self.judge.unreadable(violation, body, &reception)))]
            }
            // Refused as a whole, with nothing taken.
            Unreadable::TooManyEvents { .. } => Vec::new(),
        });
        let mut tally = Tally::open(&self.judge.metrics, "acme", "http", judged.len());
        for judged in &judged {
            match judged {
                Judged::Accepted(accepted) => {
                    self.records.event(&accepted.event).expect("what is accepted can be written");
                    tally.count(Outcome::Accepted);
                }
                Judged::Rejected(rejection) => {
                    assert!(!rejection.violations.is_empty() && rejection.reason() != "unknown", "it says why");
                    assert!(rejection.event.payload.len() <= 32 * 1024);
                    self.records.rejected(&rejection.event).expect("what is refused can be written");
                    tally.reject(rejection.reason());
                }
            }
        }
        judged.len() as u64
    }
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("this is Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("the kernel says it");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("in KiB") * 1024
}

/// Tells the process of its own that memory is measured in.
const ALONE: &str = "TTF_TEST_ALONE";

#[test]
fn malformed_inputs_each_have_one_outcome_and_leave_no_memory_behind() {
    if std::env::var_os(ALONE).is_some() {
        return bombardment();
    }
    // The other tests of this process take and free memory, too.
    let name = thread::current().name().expect("tests are named").to_owned();
    let test = std::env::current_exe().expect("a test knows its own path");
    let ran = Command::new(test).args(["--exact", &name, "--nocapture"]).env(ALONE, "1").output();
    let ran = ran.expect("it starts again");
    let printed = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && printed.contains("1 passed"), "{printed}{}", String::from_utf8_lossy(&ran.stderr));
}

fn bombardment() {
    let inputs = std::env::var("TTF_TEST_INPUTS").ok().and_then(|inputs| inputs.parse().ok()).unwrap_or(INPUTS);
    let kit = Kit::for_test();
    let bench = bench(&kit);
    let bombard = |inputs: u64, round: u64| -> u64 {
        thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|number| {
                    let bench = &bench;
                    scope.spawn(move || {
                        let mut random = SmallRandom(0x5eed + 2 * (round * THREADS + number) + 1);
                        let one = |_| {
                            let body = Bytes::from(mangled(&mut random));
                            bench.decide(&body, random.below(6))
                        };
                        (0..inputs / THREADS).map(one).sum::<u64>()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("no input brings it down")).sum()
        })
    };
    let warm = bombard(inputs / 20, 0);
    let before = resident_bytes();
    let events = warm + bombard(inputs - inputs / 20, 1);
    let grown = resident_bytes().saturating_sub(before);
    let metric = |name: &str| -> u64 {
        let text = kit.metrics().render();
        let of_metric = text.lines().filter(|line| line.starts_with(name));
        of_metric.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    };
    assert_eq!(metric("ttf_events_received_total"), events);
    assert_eq!(metric("ttf_events_total"), events, "one outcome each");
    assert!(metric("ttf_events_rejected_total") > inputs / 4);
    assert!(grown < GROWTH, "memory has grown by {grown} bytes");
}
