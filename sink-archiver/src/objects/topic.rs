//! What the topics still hold. All of it blocks on the log, so it runs on threads of its own.

use std::{
    ops::ControlFlow,
    sync::Arc,
    time::{Duration, Instant},
};

use stream_runtime::{
    log::{Isolation, Log, LogError, Position, Record, RecordRef, TopicPartition},
    sink::SinkError,
};

use super::writer::blocking;

const CALL: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);
const POLL_RECORDS: usize = 5_000;
/// A partition that brings nothing for so long is given up.
const STALL: Duration = Duration::from_secs(60);

/// Every partition of these topics.
pub(super) async fn partitions(
    log: &Arc<dyn Log>,
    topics: &'static [&'static str],
) -> Result<Vec<TopicPartition>, SinkError> {
    let log = Arc::clone(log);
    let found = blocking(move || log.topics(Some(topics), CALL)).await?.map_err(away)?;
    let of_topic = |topic: &stream_runtime::log::TopicInfo| {
        let name: Arc<str> = topic.name.as_str().into();
        (0..topic.partitions).map(move |partition| TopicPartition::new(Arc::clone(&name), partition))
    };
    Ok(found.iter().flat_map(of_topic).collect())
}

/// The offset of the oldest record that is kept.
pub(super) async fn oldest(log: &Arc<dyn Log>, at: &TopicPartition) -> Result<i64, SinkError> {
    let (log, at) = (Arc::clone(log), at.clone());
    blocking(move || log.start_offset(&at, CALL)).await?.map_err(away)
}

/// Whether a partition has records from offset `from` on (or from its oldest) that were written before an instant.
/// Transaction markers are no records: a quiet topic ends with one.
pub(super) async fn has_records_between(
    log: &Arc<dyn Log>,
    at: &TopicPartition,
    from: Option<i64>,
    before_ms: i64,
) -> Result<bool, SinkError> {
    let (log, at) = (Arc::clone(log), at.clone());
    blocking(move || {
        let from = from.unwrap_or(0).max(log.start_offset(&at, CALL)?);
        let to = log.offset_for_time(&at, before_ms, CALL)?;
        let mut found = false;
        visit(&*log, &at, from, to, &mut |_| {
            found = true;
            ControlFlow::Break(())
        })?;
        Ok(found)
    })
    .await?
    .map_err(away)
}

/// The committed records of offsets `from..to`, as far as they are kept.
pub(super) async fn read(
    log: &Arc<dyn Log>,
    at: &TopicPartition,
    from: i64,
    to: i64,
) -> Result<Vec<Record>, SinkError> {
    let (log, at) = (Arc::clone(log), at.clone());
    blocking(move || {
        // A topic that was made anew may be shorter than what was archived of the one before.
        let to = to.min(log.end_offset(&at, Isolation::ReadUncommitted, CALL)?);
        let mut records = Vec::new();
        visit(&*log, &at, from, to, &mut |record| {
            records.push(record.to_owned());
            ControlFlow::Continue(())
        })?;
        Ok(records)
    })
    .await?
    .map_err(away)
}

fn visit(
    log: &dyn Log,
    at: &TopicPartition,
    from: i64,
    to: i64,
    see: &mut dyn FnMut(&RecordRef<'_>) -> ControlFlow<()>,
) -> Result<(), LogError> {
    let mut reached = from;
    if reached >= to {
        return Ok(());
    }
    let mut reader = log.reader(Isolation::ReadCommitted)?;
    reader.assign(&[(at.clone(), Position::Offset(from))])?;
    let mut moved = Instant::now();
    let mut flow = ControlFlow::Continue(());
    while reached < to && flow.is_continue() {
        let polled = reader.poll(POLL_RECORDS, POLL, &mut |record| {
            if flow.is_continue() && record.offset < to {
                flow = see(record);
            }
        });
        match polled {
            Ok(_) => {}
            Err(error) if error.is_retriable() && moved.elapsed() < STALL => {}
            Err(error) => return Err(error),
        }
        let position = reader.position(at).unwrap_or(reached);
        if position > reached {
            reached = position;
            moved = Instant::now();
        } else if moved.elapsed() > STALL {
            return Err(LogError::Unavailable(format!("{at} has brought nothing at offset {reached} of {to}")));
        }
    }
    Ok(())
}

fn away(error: LogError) -> SinkError {
    SinkError::Unavailable(error.to_string())
}
