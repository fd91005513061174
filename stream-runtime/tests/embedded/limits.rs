//! Bounds, and calls in the wrong order.

use std::time::Duration;

use stream_runtime::log::{
    Isolation, Log, LogError, NewRecord, Polled, TopicSpec, Verdict,
    embedded::{EmbeddedLog, Options},
};

use super::support::{LONG, LOOK, Member, at, options, publish, read_all, spec, until};

#[test]
fn a_full_queue_tells_the_sender_to_come_back() {
    let log = EmbeddedLog::in_memory_with(Options { queue_bytes: 10_000, ..Options::default() });
    log.create_topics(&[spec("t", 1)], LONG).unwrap();
    let publisher = log.publisher().unwrap();
    let record = NewRecord::new("t", "k", vec![b'x'; 4_000]);
    let mut accepted = Vec::new();
    let mut refused = 0;
    until("the queue was full once", || {
        match publisher.publish(record.clone()) {
            Ok(delivery) => accepted.push(delivery),
            Err(error) => {
                assert!(matches!(error, LogError::QueueFull) && error.is_retriable());
                refused += 1;
            }
        }
        refused > 0
    });
    publisher.flush(LONG).unwrap();
    drop(publisher.publish(record).expect("there is room again"));
    publisher.flush(LONG).unwrap();
    assert_eq!(read_all(&log, "t").len(), accepted.len() + 1, "what was accepted is written, what was refused is not");
}

#[test]
fn a_record_larger_than_the_queue_still_goes_through() {
    let log = EmbeddedLog::in_memory_with(Options { queue_bytes: 10, ..Options::default() });
    log.create_topics(&[spec("t", 1)], LONG).unwrap();
    publish(&log, [NewRecord::new("t", "k", "more than ten bytes")]);
    assert_eq!(read_all(&log, "t").len(), 1);
}

#[test]
fn the_size_limit_is_told() {
    let log = EmbeddedLog::in_memory_with(Options { record_bytes: 100, ..Options::default() });
    log.create_topics(&[spec("t", 1)], LONG).unwrap();
    let refused = log.publisher().unwrap().publish(NewRecord::new("t", "", vec![0; 101])).err().unwrap();
    assert!(matches!(refused, LogError::TooLarge { size: 101, limit: 100 }), "{refused}");
    publish(&log, [NewRecord::new("t", "", vec![0; 100])]);
}

#[test]
fn a_partition_that_is_not_there_is_refused() {
    let log = EmbeddedLog::in_memory();
    log.create_topics(&[spec("t", 2)], LONG).unwrap();
    let publisher = log.publisher().unwrap();
    for partition in [-1, 2] {
        let refused = publisher.publish(NewRecord::new("t", "k", "v").with_partition(partition)).err().unwrap();
        assert!(matches!(refused, LogError::Invalid(_)), "{refused}");
        assert!(log.start_offset(&at("t", partition), LONG).is_err());
    }
}

#[test]
fn topics_that_make_no_sense_are_refused() {
    let log = EmbeddedLog::in_memory();
    for bad in [spec("", 1), spec("t", 0), spec("t", -3), spec(&"x".repeat(250), 1)] {
        let refused = log.create_topics(&[bad], LONG).unwrap_err();
        assert!(matches!(refused, LogError::Invalid(_)), "{refused}");
    }
    log.create_topics(&[spec("t", 1)], LONG).unwrap();
    let other = TopicSpec { cleanup: stream_runtime::log::Cleanup::Compact, ..spec("t", 1) };
    let refused = log.create_topics(&[other], LONG).unwrap_err();
    assert!(refused.to_string().contains("cleanup"), "{refused}");
    assert_eq!(log.topics(None, LONG).unwrap().len(), 1);
}

#[test]
fn the_same_instance_id_replaces_the_older_subscription() {
    let log = EmbeddedLog::in_memory();
    log.create_topics(&[spec("t", 2)], LONG).unwrap();
    let subscribe = || {
        let options = stream_runtime::log::SubscribeOptions { instance_id: Some("a-0".into()), ..options("g", &["t"]) };
        log.subscribe(options).unwrap()
    };
    let mut older = subscribe();
    assert!(matches!(older.poll(1, LOOK, &mut |_| {}).unwrap(), Polled::Assigned(all) if all.len() == 2));
    let proof = older.group().unwrap();
    let mut newer = subscribe();
    assert!(older.assignment_lost());
    assert!(matches!(older.poll(1, LOOK, &mut |_| {}), Err(LogError::Replaced(_))));
    assert!(matches!(newer.poll(1, LOOK, &mut |_| {}).unwrap(), Polled::Assigned(all) if all.len() == 2));
    let mut transactor = log.transactor("id").unwrap();
    transactor.init(LONG).unwrap();
    transactor.begin().unwrap();
    assert_eq!(transactor.commit(&[], &proof, LONG).unwrap_err().verdict, Verdict::Replaced);
}

#[test]
fn calls_in_the_wrong_order_are_fatal_not_silent() {
    let log = EmbeddedLog::in_memory();
    log.create_topics(&[spec("t", 1)], LONG).unwrap();
    let member = Member::alone(&log, "g", &["t"]);
    let proof = member.subscription.group().unwrap();
    let record = NewRecord::new("t", "k", "v");
    let mut transactor = log.transactor("id").unwrap();
    assert_eq!(transactor.begin().unwrap_err().verdict, Verdict::Fatal);
    transactor.init(LONG).unwrap();
    assert_eq!(transactor.produce(&record).unwrap_err().verdict, Verdict::Fatal);
    assert_eq!(transactor.commit(&[], &proof, LONG).unwrap_err().verdict, Verdict::Fatal);
    transactor.begin().unwrap();
    assert_eq!(transactor.begin().unwrap_err().verdict, Verdict::Fatal);
    transactor.produce(&record).unwrap();
    transactor.commit(&[], &proof, LONG).unwrap();
    assert_eq!(read_all(&log, "t").len(), 1);
}

#[test]
fn an_impatient_commit_is_finished_by_the_same_call_again() {
    let log = EmbeddedLog::in_memory();
    log.create_topics(&[spec("t", 1)], LONG).unwrap();
    let member = Member::alone(&log, "g", &["t"]);
    let proof = member.subscription.group().unwrap();
    let mut transactor = log.transactor("id").unwrap();
    transactor.init(LONG).unwrap();
    for number in 0..200 {
        transactor.begin().unwrap();
        transactor.produce(&NewRecord::new("t", "k", number.to_string())).unwrap();
        let mut timeout = Duration::ZERO;
        while let Err(error) = transactor.commit(&[], &proof, timeout) {
            assert_eq!(error.verdict, Verdict::Retry);
            timeout = LONG;
        }
    }
    assert_eq!(read_all(&log, "t").len(), 200, "each exactly once");
}

#[test]
fn a_closed_log_lets_go_of_its_folder_only_with_its_last_handle() {
    let folder = tempfile::tempdir().unwrap();
    let config =
        stream_runtime::log::config::EmbeddedConfig { path: folder.path().to_owned(), retention_bytes: u64::MAX };
    let log = EmbeddedLog::open(&config).unwrap();
    let reader = log.reader(Isolation::ReadCommitted).unwrap();
    drop(log);
    assert!(EmbeddedLog::open(&config).is_err());
    drop(reader);
    EmbeddedLog::open(&config).unwrap();
}
