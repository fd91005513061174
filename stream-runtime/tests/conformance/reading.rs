//! Readers outside groups, and what is told of a partition.

use std::time::{Duration, Instant};

use stream_runtime::log::{Isolation, Log, LogError, NewRecord, Position, Reader};

use super::support::{LONG, LOOK, Open, at, new_topic, publish, text, until};

fn numbers(topic: &str, range: std::ops::Range<i64>) -> Vec<NewRecord> {
    range.map(|number| NewRecord::new(topic, "k", number.to_string()).with_partition(0)).collect()
}

/// Reads until so many records came.
fn take(reader: &mut dyn Reader, count: usize) -> Vec<i64> {
    let mut offsets = Vec::new();
    until("the reader has read enough", || {
        reader.poll(count - offsets.len(), LOOK, &mut |record| offsets.push(record.offset)).unwrap();
        offsets.len() >= count
    });
    offsets
}

fn reader_at(log: &dyn Log, topic: &str, position: Position) -> Box<dyn Reader> {
    let mut reader = log.reader(Isolation::ReadCommitted).unwrap();
    reader.assign(&[(at(topic, 0), position)]).unwrap();
    reader
}

pub fn a_reader_starts_where_it_is_told(open: Open<'_>) {
    let log = open();
    let topic = new_topic(&*log, 1);
    publish(&*log, numbers(&topic, 0..10));
    let mut reader = reader_at(&*log, &topic, Position::Beginning);
    assert_eq!(take(&mut *reader, 10), (0..10).collect::<Vec<_>>());
    assert_eq!(reader.position(&at(&topic, 0)), Some(10));
    // A new assignment takes the place of the old one.
    reader.assign(&[(at(&topic, 0), Position::Offset(7))]).unwrap();
    assert_eq!(take(&mut *reader, 3), [7, 8, 9]);
    let mut tail = reader_at(&*log, &topic, Position::End);
    assert_eq!(tail.poll(10, LOOK, &mut |_| {}).unwrap(), 0);
    publish(&*log, numbers(&topic, 10..12));
    let first = take(&mut *tail, 1)[0];
    assert!(first >= 10, "the end is behind what was there: {first}");
}

pub fn a_waiting_reader_is_woken_by_a_record(open: Open<'_>) {
    let log = open();
    let topic = new_topic(&*log, 1);
    publish(&*log, numbers(&topic, 0..1));
    let mut reader = reader_at(&*log, &topic, Position::Beginning);
    take(&mut *reader, 1);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let started = Instant::now();
            let mut visited = 0;
            while visited == 0 && started.elapsed() < LONG {
                visited = reader.poll(10, LONG, &mut |_| {}).unwrap();
            }
            (visited, started.elapsed())
        });
        publish(&*log, numbers(&topic, 1..2));
        let (visited, waited) = waiting.join().unwrap();
        assert_eq!(visited, 1);
        assert!(waited < LONG / 2, "it waited for its time-out: {waited:?}");
    });
}

pub fn a_reader_visits_no_more_than_asked_and_misses_nothing(open: Open<'_>) {
    let log = open();
    let topic = new_topic(&*log, 3);
    let records =
        (0..90).map(|number| NewRecord::new(topic.as_str(), "k", number.to_string()).with_partition(number % 3));
    publish(&*log, records);
    let mut reader = log.reader(Isolation::ReadUncommitted).unwrap();
    let from: Vec<_> = (0..3).map(|partition| (at(&topic, partition), Position::Beginning)).collect();
    reader.assign(&from).unwrap();
    let mut seen: Vec<Vec<String>> = vec![Vec::new(); 3];
    until("everything is read", || {
        let visited =
            reader.poll(7, LOOK, &mut |record| seen[record.partition as usize].push(text(record.value))).unwrap();
        assert!(visited <= 7);
        seen.iter().map(Vec::len).sum::<usize>() >= 90
    });
    for (partition, values) in seen.iter().enumerate() {
        let expected: Vec<String> = (0..30).map(|number| (number * 3 + partition).to_string()).collect();
        assert_eq!(*values, expected);
    }
}

pub fn a_position_that_does_not_exist_is_out_of_range(open: Open<'_>) {
    let log = open();
    let topic = new_topic(&*log, 1);
    publish(&*log, numbers(&topic, 0..3));
    let mut reader = log.reader(Isolation::ReadCommitted).unwrap();
    let mut refused = reader.assign(&[(at(&topic, 0), Position::Offset(99))]).err();
    let deadline = Instant::now() + LONG;
    while refused.is_none() && Instant::now() < deadline {
        refused = reader.poll(10, LOOK, &mut |record| panic!("record {} is not there", record.offset)).err();
    }
    match refused {
        Some(LogError::OffsetOutOfRange { at: place, offset: 99, .. }) => assert_eq!(place, at(&topic, 0)),
        other => panic!("expected an offset out of range, got {other:?}"),
    }
}

pub fn start_and_end_enclose_the_records(open: Open<'_>) {
    let log = open();
    let topic = new_topic(&*log, 2);
    let end = |partition| {
        let both = [Isolation::ReadCommitted, Isolation::ReadUncommitted]
            .map(|isolation| log.end_offset(&at(&topic, partition), isolation, LONG).unwrap());
        assert_eq!(both[0], both[1]);
        both[0]
    };
    assert_eq!((end(0), end(1)), (0, 0));
    publish(&*log, numbers(&topic, 0..5));
    assert_eq!((end(0), end(1)), (5, 0));
    assert_eq!(log.start_offset(&at(&topic, 0), LONG).unwrap(), 0);
    assert!(log.end_offset(&at(&topic, 2), Isolation::ReadCommitted, Duration::from_secs(10)).is_err());
}

pub fn a_time_leads_to_the_first_record_at_or_after_it(open: Open<'_>) {
    let log = open();
    let topic = new_topic(&*log, 1);
    let base = 1_790_000_000_000;
    let times = [base, base + 1_000, base + 500, base + 2_000];
    // One by one, as a broker indexes time by batch.
    for time in times {
        publish(&*log, [NewRecord::new(topic.as_str(), "k", "v").with_timestamp(time)]);
    }
    let offset = |time| log.offset_for_time(&at(&topic, 0), time, LONG).unwrap();
    assert_eq!(offset(base - 5), 0);
    assert_eq!(offset(base), 0);
    assert_eq!(offset(base + 1), 1);
    assert_eq!(offset(base + 1_000), 1);
    assert_eq!(offset(base + 1_001), 3);
    assert_eq!(offset(base + 2_001), 4, "the end when there is none");
}
