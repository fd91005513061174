//! Random operations against a model of a few lines.

use std::time::Duration;

use proptest::prelude::*;
use stream_runtime::log::{
    Cleanup, Isolation, Log, NewRecord, NextOffset, TopicSpec, Transactor,
    config::EmbeddedConfig,
    embedded::{EmbeddedLog, Options},
};

use super::{
    retention::Hands,
    support::{LONG, Member, at, publish, read_all, spec},
};

const HOUR_MS: i64 = 3_600_000;
const KEPT_FOR_MS: i64 = 10 * HOUR_MS;
const TOMBSTONES_FOR_MS: i64 = 24 * HOUR_MS;
const PARTITIONS: i32 = 2;
const TOPICS: [&str; 2] = ["deleted", "compacted"];

/// A record to a topic and partition: key and value are small numbers, `None` a tombstone.
type Item = (usize, i32, u8, Option<u8>);

#[derive(Debug, Clone)]
enum Step {
    Publish(Vec<Item>),
    Transaction { items: Vec<Item>, next: i64, commit: bool },
    Advance(i64),
    Sweep,
    Reopen,
}

fn item() -> impl Strategy<Value = Item> {
    (0..TOPICS.len(), 0..PARTITIONS, 0..4_u8, proptest::option::weighted(0.8, any::<u8>()))
}

fn step() -> impl Strategy<Value = Step> {
    let items = || proptest::collection::vec(item(), 1..6);
    prop_oneof![
        4 => items().prop_map(Step::Publish),
        3 => (items(), 0..1000_i64, any::<bool>())
            .prop_map(|(items, next, commit)| Step::Transaction { items, next, commit }),
        2 => (1..20_i64).prop_map(|hours| Step::Advance(hours * HOUR_MS)),
        2 => Just(Step::Sweep),
        1 => Just(Step::Reopen),
    ]
}

/// A record as the model keeps it.
#[derive(Debug, Clone, PartialEq)]
struct Kept {
    offset: i64,
    key: u8,
    value: Option<u8>,
    appended_ms: i64,
}

/// What must be in the log.
#[derive(Default)]
struct Model {
    /// By topic and partition.
    records: [[Vec<Kept>; PARTITIONS as usize]; 2],
    ends: [[i64; PARTITIONS as usize]; 2],
    committed: Option<i64>,
}

impl Model {
    fn append(&mut self, (topic, partition, key, value): Item, now_ms: i64) {
        let partition = partition as usize;
        let records = &mut self.records[topic][partition];
        if TOPICS[topic] == "compacted" {
            records.retain(|kept| kept.key != key);
        }
        let offset = self.ends[topic][partition];
        records.push(Kept { offset, key, value, appended_ms: now_ms });
        self.ends[topic][partition] += 1;
    }

    fn sweep(&mut self, now_ms: i64) {
        for partition in 0..PARTITIONS as usize {
            self.records[0][partition].retain(|kept| kept.appended_ms >= now_ms - KEPT_FOR_MS);
            self.records[1][partition]
                .retain(|kept| kept.value.is_some() || kept.appended_ms > now_ms - TOMBSTONES_FOR_MS);
        }
    }
}

fn record((topic, partition, key, value): Item) -> NewRecord {
    NewRecord {
        value: value.map(|value| vec![value].into()),
        ..NewRecord::new(TOPICS[topic], vec![key], "").with_partition(partition)
    }
}

/// A log with a member and a producer, closed and opened as one.
struct Subject {
    member: Member,
    transactor: Box<dyn Transactor>,
    log: EmbeddedLog,
}

impl Subject {
    fn new(log: EmbeddedLog) -> Self {
        let retention = Some(Duration::from_millis(KEPT_FOR_MS as u64));
        let deleted = TopicSpec { retention, ..spec(TOPICS[0], PARTITIONS) };
        let compacted = TopicSpec { cleanup: Cleanup::Compact, ..spec(TOPICS[1], PARTITIONS) };
        log.create_topics(&[deleted, compacted], LONG).unwrap();
        let member = Member::alone(&log, "g", &[TOPICS[0]]);
        let mut transactor = log.transactor("id").unwrap();
        transactor.init(LONG).unwrap();
        Self { member, transactor, log }
    }

    fn compare(&self, model: &Model) {
        for (number, topic) in TOPICS.iter().enumerate() {
            let read = read_all(&self.log, topic);
            for partition in 0..PARTITIONS {
                let kept = &model.records[number][partition as usize];
                let found: Vec<(i64, u8, Option<u8>)> = read
                    .iter()
                    .filter(|record| record.partition == partition)
                    .map(|record| {
                        (record.offset, record.key.as_ref().unwrap()[0], record.value.as_ref().map(|value| value[0]))
                    })
                    .collect();
                let expected: Vec<_> = kept.iter().map(|kept| (kept.offset, kept.key, kept.value)).collect();
                assert_eq!(found, expected, "{topic}[{partition}]");
                let end = self.log.end_offset(&at(topic, partition), Isolation::ReadCommitted, LONG).unwrap();
                assert_eq!(end, model.ends[number][partition as usize]);
                if number == 0 {
                    let start = self.log.start_offset(&at(topic, partition), LONG).unwrap();
                    assert_eq!(start, kept.first().map_or(end, |kept| kept.offset));
                }
            }
        }
        let committed = self.log.committed("g", &[at(TOPICS[0], 0)], LONG).unwrap();
        assert_eq!(committed[0].next, model.committed);
    }
}

fn run(steps: &[Step], open: &dyn Fn(Options) -> EmbeddedLog) {
    let hands = Hands::new();
    let mut subject = Subject::new(open(hands.options()));
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Publish(items) => {
                publish(&subject.log, items.iter().map(|item| record(*item)));
                for item in items {
                    model.append(*item, hands.now());
                }
            }
            Step::Transaction { items, next, commit } => {
                subject.transactor.begin().unwrap();
                for item in items {
                    subject.transactor.produce(&record(*item)).unwrap();
                }
                if *commit {
                    let offset = NextOffset { at: at(TOPICS[0], 0), next: *next, metadata: String::new() };
                    let group = subject.member.subscription.group().unwrap();
                    subject.transactor.commit(&[offset], &group, LONG).unwrap();
                    for item in items {
                        model.append(*item, hands.now());
                    }
                    model.committed = Some(*next);
                } else {
                    subject.transactor.abort(LONG).unwrap();
                }
            }
            Step::Advance(ms) => hands.advance(*ms),
            Step::Sweep => {
                subject.log.sweep().unwrap();
                model.sweep(hands.now());
            }
            Step::Reopen => {
                drop(subject);
                subject = Subject::new(open(hands.options()));
            }
        }
        subject.compare(&model);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 500, ..ProptestConfig::default() })]

    #[test]
    fn in_memory_it_does_what_the_model_does(steps in proptest::collection::vec(step(), 1..60)) {
        // Opening again is dropping every handle but the log itself.
        let kept = std::cell::RefCell::new(None::<EmbeddedLog>);
        run(&steps, &|options| {
            kept.borrow_mut().get_or_insert_with(|| EmbeddedLog::in_memory_with(options)).clone()
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 100, ..ProptestConfig::default() })]

    #[test]
    fn on_disk_it_does_what_the_model_does(steps in proptest::collection::vec(step(), 1..40)) {
        let folder = tempfile::tempdir().unwrap();
        let config = EmbeddedConfig { path: folder.path().to_owned(), retention_bytes: u64::MAX };
        run(&steps, &|options| EmbeddedLog::open_with(&config, options).unwrap());
    }
}
