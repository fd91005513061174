use std::time::Duration;

use super::{measure::Rounds, *};
use crate::log::{Log, NewRecord, TopicSpec, embedded::EmbeddedLog};

const HOUR_MS: i64 = 3_600_000;

/// A log with one topic of two partitions that keeps records for an hour.
fn log() -> Arc<dyn Log> {
    let log = EmbeddedLog::in_memory();
    let spec = TopicSpec { retention: Some(Duration::from_secs(3600)), ..TopicSpec::new("t", 2) };
    log.create_topics(&[spec], Duration::from_secs(5)).unwrap();
    Arc::new(log)
}

fn publish(log: &Arc<dyn Log>, partition: i32, timestamp_ms: i64) {
    let record = NewRecord::new("t", "k", "v").with_partition(partition).with_timestamp(timestamp_ms);
    futures::executor::block_on(log.publisher().unwrap().publish(record).unwrap()).unwrap();
}

fn at(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

struct Shown(Metrics);

impl Shown {
    fn series(&self, name: &str, partition: i32) -> Option<f64> {
        self.value(&format!(r#"{name}{{group="g",partition="{partition}",topic="t"}}"#))
    }

    fn headroom(&self) -> Option<f64> {
        self.value(r#"ttf_retention_headroom_seconds{group="g",topic="t"}"#)
    }

    fn value(&self, series: &str) -> Option<f64> {
        let page = self.0.render();
        let line = page.lines().find(|line| line.starts_with(series))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    fn lag(&self, partition: i32) -> Option<f64> {
        self.series("ttf_consumer_lag_records", partition)
    }

    fn oldest(&self, partition: i32) -> Option<f64> {
        self.series("ttf_consumer_oldest_unprocessed_seconds", partition)
    }
}

#[test]
fn what_waits_is_counted_and_aged_and_held_against_the_retention() {
    let (log, metrics) = (log(), Metrics::default());
    let meter = LagMeter::new(&metrics, "g");
    let (mut rounds, shown) = (Rounds::new(log.clone()), Shown(metrics));
    let member = meter.member();
    let now = HOUR_MS * 10;
    publish(&log, 0, now - 60_000);
    publish(&log, 0, now - 50_000);

    member.tell(&at(0), Some(0), Some(now - 90_000));
    member.tell(&at(1), None, None);
    rounds.round(&meter, now);
    assert_eq!((shown.lag(0), shown.oldest(0)), (Some(2.0), Some(90.0)), "at most: it came after the last one");
    assert_eq!((shown.lag(1), shown.oldest(1)), (Some(0.0), Some(0.0)), "empty and read from its start");
    assert_eq!(shown.headroom(), Some(3510.0));

    rounds.round(&meter, now);
    assert_eq!(shown.oldest(0), Some(60.0), "it stands still: the record that waits was looked at");
    assert_eq!(shown.headroom(), Some(3540.0));

    member.tell(&at(0), Some(2), Some(now - 50_000));
    rounds.round(&meter, now);
    assert_eq!((shown.lag(0), shown.oldest(0), shown.headroom()), (Some(0.0), Some(0.0), Some(3600.0)));
}

#[test]
fn a_partition_that_moves_is_shown_by_who_has_it_and_gone_when_nobody_does() {
    let (log, metrics) = (log(), Metrics::default());
    let meter = LagMeter::new(&metrics, "g");
    let (mut rounds, shown) = (Rounds::new(log.clone()), Shown(metrics));
    let (mut first, mut second) = (meter.member(), meter.member());
    publish(&log, 0, 0);
    first.tell(&at(0), Some(0), None);
    rounds.round(&meter, 1_000);
    assert_eq!(shown.lag(0), Some(1.0));

    second.tell(&at(0), Some(1), None);
    rounds.round(&meter, 2_000);
    first.clear();
    assert_eq!(shown.lag(0), Some(0.0), "the former owner takes nothing with it");

    second.clear();
    assert_eq!((shown.lag(0), shown.oldest(0), shown.headroom()), (None, None, None));
    rounds.round(&meter, 3_000);
    assert_eq!(shown.lag(0), None);
}

#[test]
fn a_round_that_ends_after_a_partition_was_given_up_shows_nothing_of_it() {
    let metrics = Metrics::default();
    let meter = LagMeter::new(&metrics, "g");
    let shown = Shown(metrics);
    let mut member = meter.member();
    member.tell(&at(0), Some(0), None);
    let known = waiting::Known { next: 0, end: 9, front: None, last_record_ms: None, caught_up_ms: None, now_ms: 0 };
    let measured = Measured { next: 0, end: 9, front: None, behind: Behind::of(known) };
    let found = vec![(at(0), member.id, measured)];
    member.clear();
    meter.publish(found, &HashMap::new(), 0);
    assert_eq!(shown.lag(0), None);
}
