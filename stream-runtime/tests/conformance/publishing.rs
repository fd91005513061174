//! Records go in as they are and are acknowledged where they are.

use bytes::Bytes;
use stream_runtime::log::{LogError, NewRecord, partitioner::partition_for};

use super::support::{LONG, Open, at, fresh, new_topic, publish, read_all, text, try_publish, values};

pub fn a_record_comes_back_as_it_was_written(open: Open<'_>) {
    let log = open();
    let topic = new_topic(&*log, 3);
    let written = NewRecord::new(topic.as_str(), "the key", "the value")
        .with_partition(1)
        .with_timestamp(1_790_000_000_123)
        .with_header("kind", "first")
        .with_header("empty", "")
        .with_header("kind", Bytes::from_static(&[0, 255]));
    assert_eq!(publish(&*log, [written.clone()]), [(1, 0)]);
    let read = read_all(&*log, &topic);
    assert_eq!(read.len(), 1);
    assert_eq!(*read[0].topic, *topic);
    assert_eq!((read[0].partition, read[0].offset), (1, 0));
    assert_eq!(read[0].timestamp_ms, 1_790_000_000_123);
    assert_eq!(read[0].key, written.key);
    assert_eq!(read[0].value, written.value);
    assert_eq!(read[0].headers, written.headers);
    assert_eq!(read[0].as_ref().header("kind"), Some([0, 255].as_slice()));
}

pub fn records_without_key_or_value_are_taken(open: Open<'_>) {
    let log = open();
    let topic = new_topic(&*log, 1);
    let full = NewRecord::new(topic.as_str(), "k", "v");
    let empty = NewRecord::new(topic.as_str(), "", "");
    publish(
        &*log,
        [
            NewRecord { key: None, ..full.clone() },
            NewRecord { value: None, ..full.clone() },
            NewRecord { key: None, value: None, ..full },
            empty,
        ],
    );
    let read: Vec<_> = read_all(&*log, &topic).into_iter().map(|record| (record.key, record.value)).collect();
    let bytes = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
    assert_eq!(read, [(None, bytes("v")), (bytes("k"), None), (None, None), (bytes(""), bytes(""))]);
}

pub fn a_key_decides_the_partition_as_in_kafkas_clients(open: Open<'_>) {
    let log = open();
    let topic = new_topic(&*log, 5);
    let keys: Vec<String> = (0..50).map(|number| format!("user-{}", number % 25)).collect();
    let placed = publish(&*log, keys.iter().map(|key| NewRecord::new(topic.as_str(), key.clone(), "v")));
    for (key, (partition, _)) in keys.iter().zip(placed) {
        assert_eq!(partition, partition_for(key.as_bytes(), 5), "partition of {key}");
    }
}

pub fn records_without_key_spread_over_the_partitions(open: Open<'_>) {
    let log = open();
    let topic = new_topic(&*log, 2);
    let keyless = NewRecord { key: None, ..NewRecord::new(topic.as_str(), "", "v") };
    let mut used = std::collections::BTreeSet::new();
    let publisher = log.publisher().unwrap();
    for _ in 0..64 {
        let delivery = publisher.publish(keyless.clone()).unwrap();
        used.insert(futures::executor::block_on(delivery).unwrap().0);
    }
    assert_eq!(used.into_iter().collect::<Vec<_>>(), [0, 1]);
}

pub fn records_of_a_partition_keep_the_order_of_publishing(open: Open<'_>) {
    let log = open();
    let topic = new_topic(&*log, 1);
    let written: Vec<String> = (0..500).map(|number| number.to_string()).collect();
    let placed = publish(&*log, written.iter().map(|value| NewRecord::new(topic.as_str(), "k", value.clone())));
    assert_eq!(placed, (0..500).map(|offset| (0, offset)).collect::<Vec<_>>());
    assert_eq!(values(&read_all(&*log, &topic)), written);
}

pub fn flush_waits_for_everything_queued(open: Open<'_>) {
    let log = open();
    let topic = new_topic(&*log, 3);
    let publisher = log.publisher().unwrap();
    for number in 0..100 {
        // The deliveries are dropped: that does not take the records back.
        drop(publisher.publish(NewRecord::new(topic.as_str(), number.to_string(), "v")).unwrap());
    }
    publisher.flush(LONG).unwrap();
    assert_eq!(read_all(&*log, &topic).len(), 100);
}

pub fn an_unknown_topic_is_refused_by_name(open: Open<'_>) {
    let log = open();
    let missing = fresh("missing");
    let named = |error: &LogError| matches!(error, LogError::UnknownTopic(name) if *name == missing);
    let refused = try_publish(&*log, NewRecord::new(missing.as_str(), "k", "v")).unwrap_err();
    assert!(named(&refused), "{refused}");
    let refused = log.end_offset(&at(&missing, 0), stream_runtime::log::Isolation::ReadUncommitted, LONG).unwrap_err();
    assert!(named(&refused), "{refused}");
    let refused = log.topic_id(&missing, LONG).unwrap_err();
    assert!(named(&refused), "{refused}");
}

pub fn an_oversize_record_is_refused_and_the_next_one_taken(open: Open<'_>) {
    let log = open();
    let topic = new_topic(&*log, 1);
    let refused = try_publish(&*log, NewRecord::new(topic.as_str(), "k", vec![b'x'; 4 << 20])).unwrap_err();
    assert!(matches!(refused, LogError::TooLarge { .. }), "{refused}");
    publish(&*log, [NewRecord::new(topic.as_str(), "k", "small")]);
    assert_eq!(values(&read_all(&*log, &topic)), ["small"]);
}

pub fn acknowledged_records_are_there_after_opening_anew(open: Open<'_>) {
    let log = open();
    let topic = new_topic(&*log, 2);
    publish(&*log, (0..10).map(|number| NewRecord::new(topic.as_str(), "k", number.to_string()).with_partition(0)));
    drop(log);
    let log = open();
    assert_eq!(publish(&*log, [NewRecord::new(topic.as_str(), "k", "10").with_partition(0)]), [(0, 10)]);
    let read = read_all(&*log, &topic);
    assert_eq!(values(&read), (0..=10).map(|number| number.to_string()).collect::<Vec<_>>());
    assert!(read.iter().enumerate().all(|(index, record)| record.offset == index as i64));
    assert_eq!(text(read[0].key.as_deref()), "k");
}
