use bytes::Bytes;

use super::*;
use crate::log::{Position, Record, RecordRef, TopicSpec, embedded::EmbeddedLog};

const CALL: Duration = Duration::from_secs(5);

fn log() -> Arc<EmbeddedLog> {
    let log = EmbeddedLog::in_memory();
    let spec = |name: &str| TopicSpec::new(name, 2);
    log.create_topics(&[spec("in"), spec("out")], CALL).unwrap();
    Arc::new(log)
}

fn publish(log: &EmbeddedLog, value: &str) {
    let delivery = log.publisher().unwrap().publish(NewRecord::new("in", value.to_owned(), value.to_owned())).unwrap();
    futures::executor::block_on(delivery).unwrap();
}

fn outputs(log: &EmbeddedLog) -> Vec<String> {
    let mut records: Vec<Record> = Vec::new();
    for partition in 0..2 {
        let at = TopicPartition::new("out", partition);
        let end = log.end_offset(&at, Isolation::ReadCommitted, CALL).unwrap();
        let mut reader = log.reader(Isolation::ReadCommitted).unwrap();
        reader.assign(&[(at.clone(), Position::Beginning)]).unwrap();
        while end > 0 && reader.position(&at).is_none_or(|position| position < end) {
            reader.poll(100, CALL, &mut |record| records.push(record.to_owned())).unwrap();
        }
    }
    let mut values: Vec<_> =
        records.into_iter().map(|record| String::from_utf8(record.value.unwrap().to_vec()).unwrap()).collect();
    values.sort();
    values
}

/// Writes every value twice and remembers what it was told.
#[derive(Default)]
struct Twice {
    committed: usize,
}

impl Transform for Twice {
    fn map(&mut self, record: &RecordRef<'_>, out: &mut Vec<NewRecord>) {
        let value = Bytes::copy_from_slice(record.value.unwrap());
        out.push(NewRecord::new("out", value.clone(), value.clone()));
        out.push(NewRecord::new("out", value.clone(), value));
    }

    fn committed(&mut self) {
        self.committed += 1;
    }
}

fn join(log: &Arc<EmbeddedLog>, kit: &Kit) -> Worker<Twice> {
    let options = TransformOptions {
        commit_interval: Duration::from_secs(3600),
        ..TransformOptions::new("ingress", "0", "g", vec!["in".to_owned()], "ttf_ingress")
    };
    let mut worker =
        Worker::join(options, log.clone(), Twice::default(), &LagMeter::new(kit.metrics(), "twice"), kit).unwrap();
    while !matches!(worker.step(CALL).unwrap(), Polled::Assigned(_)) {}
    worker
}

fn settle(worker: &mut Worker<Twice>) {
    while worker.step(Duration::from_millis(1)).unwrap() != Polled::Records(0) {}
}

#[test]
fn outputs_are_seen_with_the_commit_and_survive_a_crash_once() {
    let (log, kit) = (log(), Kit::for_test());
    let mut worker = join(&log, &kit);
    publish(&log, "a");
    settle(&mut worker);
    assert_eq!(outputs(&log), Vec::<String>::new());
    worker.commit().unwrap();
    assert_eq!(worker.map.committed, 1);
    assert_eq!(outputs(&log), ["a", "a"]);

    publish(&log, "b");
    settle(&mut worker);
    drop(worker);
    let mut worker = join(&log, &kit);
    settle(&mut worker);
    worker.close().unwrap();
    assert_eq!(outputs(&log), ["a", "a", "b", "b"]);
}

#[test]
fn records_that_map_to_nothing_are_committed_too() {
    let (log, kit) = (log(), Kit::for_test());
    let nothing = |_: &RecordRef<'_>, _: &mut Vec<NewRecord>| {};
    let options = TransformOptions::new("ingress", "0", "g", vec!["in".to_owned()], "ttf_ingress");
    let mut worker =
        Worker::join(options, log.clone(), nothing, &LagMeter::new(kit.metrics(), "nothing"), &kit).unwrap();
    publish(&log, "a");
    while worker.step(CALL).unwrap() != Polled::Records(1) {}
    worker.commit().unwrap();
    let parts: Vec<_> = (0..2).map(|partition| TopicPartition::new("in", partition)).collect();
    let committed: i64 = log.committed("g", &parts, CALL).unwrap().iter().filter_map(|known| known.next).sum();
    assert_eq!(committed, 1);
}

#[test]
fn a_second_producer_with_the_same_id_fences_the_first_which_starts_over() {
    let (log, kit) = (log(), Kit::for_test());
    let mut worker = join(&log, &kit);
    publish(&log, "a");
    settle(&mut worker);
    log.transactor("ingress-0").unwrap().init(CALL).unwrap();
    worker.commit().unwrap();
    assert_eq!(worker.map.committed, 0, "it was fenced");
    assert!(kit.metrics().render().contains(r#"ttf_ingress_aborts_total{class="fenced"} 1"#));
    settle(&mut worker);
    worker.commit().unwrap();
    assert_eq!(outputs(&log), ["a", "a"]);
}
