//! The topic of cohorts: what is there, and bringing it to what there should be.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use bytes::Bytes;
use stream_runtime::log::{Isolation, Log, LogError, NewRecord, Position, Publisher, TopicPartition};
use telemetry_schemas::{Codec, codec::EncodeError, cohort::CohortSummary, key::SEPARATOR, topics::TTF_COHORTS};

const TIMEOUT: Duration = Duration::from_secs(10);
/// Bound of reading the whole topic.
const PATIENCE: Duration = Duration::from_secs(60);
/// Records on their way at once.
const IN_FLIGHT: usize = 1_000;

/// The key of a cohort's record: whose cohort it is, and which.
pub fn key(cohort: &CohortSummary) -> String {
    let parts = [
        cohort.tenant.as_str(),
        &cohort.journey,
        &cohort.stage,
        &cohort.window,
        cohort.segment_name.as_deref().unwrap_or_default(),
        cohort.segment_value.as_deref().unwrap_or_default(),
    ];
    parts.join(&SEPARATOR.to_string())
}

/// The keys of all cohorts the topic shows. Blocks.
///
/// # Errors
/// When the log does not answer in time, or the topic is not there.
pub fn read(log: &dyn Log) -> Result<BTreeSet<Vec<u8>>, LogError> {
    let found = log.topics(Some(&[TTF_COHORTS]), TIMEOUT)?;
    let partitions = found.first().ok_or_else(|| LogError::UnknownTopic(TTF_COHORTS.to_owned()))?.partitions;
    let mut shown = BTreeSet::new();
    for partition in 0..partitions {
        let at = TopicPartition::new(TTF_COHORTS, partition);
        let end = log.end_offset(&at, Isolation::ReadUncommitted, TIMEOUT)?;
        if log.start_offset(&at, TIMEOUT)? >= end {
            continue;
        }
        let mut reader = log.reader(Isolation::ReadUncommitted)?;
        reader.assign(&[(at.clone(), Position::Beginning)])?;
        let deadline = Instant::now() + PATIENCE;
        while reader.position(&at).is_none_or(|position| position < end) && Instant::now() < deadline {
            let polled = reader.poll(1_000, Duration::from_millis(100), &mut |record| {
                let key = record.key.unwrap_or_default();
                if record.value.is_some() {
                    shown.insert(key.to_vec());
                } else {
                    shown.remove(key);
                }
            });
            match polled {
                Ok(_) => {}
                Err(error) if error.is_retriable() => tracing::debug!(%error, "reading the cohorts that are shown"),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(shown)
}

/// The records that bring the topic to `cohorts`: theirs, and a deletion of what `shown` names beside them. Blocks where
/// the registry has to be asked.
///
/// # Errors
/// When a cohort cannot be written.
pub fn records(
    codec: &Codec,
    cohorts: &[CohortSummary],
    shown: &BTreeSet<Vec<u8>>,
) -> Result<(Vec<NewRecord>, BTreeSet<Vec<u8>>), EncodeError> {
    let mut records = Vec::with_capacity(cohorts.len());
    let mut wanted = BTreeSet::new();
    for cohort in cohorts {
        let key = key(cohort).into_bytes();
        records.push(NewRecord::new(TTF_COHORTS, key.clone(), codec.encode(cohort)?));
        wanted.insert(key);
    }
    records.extend(shown.difference(&wanted).map(|gone| NewRecord {
        value: None,
        ..NewRecord::new(TTF_COHORTS, Bytes::copy_from_slice(gone), Bytes::new())
    }));
    Ok((records, wanted))
}

/// Publishes records and waits until all are durable.
///
/// # Errors
/// When one was not acknowledged; others may have been.
pub async fn publish(publisher: &dyn Publisher, records: Vec<NewRecord>) -> Result<(), LogError> {
    let mut records = records.into_iter().peekable();
    while records.peek().is_some() {
        let mut deliveries = Vec::new();
        for record in records.by_ref().take(IN_FLIGHT) {
            deliveries.push(publisher.publish(record)?);
        }
        for delivery in deliveries {
            tokio::time::timeout(PATIENCE, delivery)
                .await
                .map_err(|_| LogError::Unavailable("a cohort was not acknowledged in time".to_owned()))??;
        }
    }
    Ok(())
}
