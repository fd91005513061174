//! A member of a consumer group.
//!
//! librdkafka asks for assignments to be answered. Its questions are recorded by [`Membership`] and handed out by the
//! next poll; the answer is the application's [`Subscription::assign`] or
//! [`Subscription::release`], and librdkafka waits for it.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rdkafka::{
    ClientConfig, Message,
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::{KafkaError, RDKafkaErrorCode as Code},
};
use tracing::{debug, warn};

use super::{
    close::close,
    coordinator,
    error::{classify, classify_code, is_mended, is_refusal, is_unknown_topic},
    lifeline::Lifeline,
    places::Places,
    progress::Progress,
    queries::Queries,
    rebalance::{Membership, Question},
    record::{lend, list, list_at, list_to_commit},
    settings::Settings,
};
use crate::log::{
    Committed, GroupMetadata, Isolation, LogError, NextOffset, Polled, Position, RecordRef, SubscribeOptions,
    Subscription, TopicPartition,
};

/// Leaving the group waits for its coordinator at most this long.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);
/// A seek is answered by librdkafka itself, without the broker.
const SEEK_PATIENCE: Duration = Duration::from_secs(5);
/// How long what librdkafka wrote before a fence is looked for.
const FENCE_PATIENCE: Duration = Duration::from_millis(200);
/// How long one watermark may take when a position turned out to be out of range.
const WATERMARK_PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct KafkaSubscription {
    /// Taken only when dropped.
    consumer: Option<BaseConsumer<Membership>>,
    config: ClientConfig,
    queries: Arc<Queries>,
    topics: Vec<String>,
    isolation: Isolation,
    group: Option<GroupMetadata>,
    /// Handed to the application and not given back by it.
    held: Vec<TopicPartition>,
    /// What the application is to give back belongs to a member that is no more: there is nothing to answer.
    succeeded: bool,
    /// What is assigned, and how far each partition was visited.
    places: Places,
    /// How far partitions are read beyond the last record visited.
    progress: Mutex<Progress>,
    paused: BTreeSet<TopicPartition>,
    /// An error that came after records had been visited.
    postponed: Option<LogError>,
}

impl KafkaSubscription {
    pub(super) fn new(
        settings: &Settings,
        queries: Arc<Queries>,
        options: &SubscribeOptions,
    ) -> Result<Self, LogError> {
        if options.topics.is_empty() {
            return Err(LogError::Invalid(format!("group `{}` subscribes to no topic", options.group)));
        }
        let config = settings.member(options);
        Ok(Self {
            consumer: Some(join(&config, &options.topics)?),
            config,
            queries,
            topics: options.topics.clone(),
            isolation: options.isolation,
            group: None,
            held: Vec::new(),
            succeeded: false,
            places: Places::default(),
            progress: Mutex::new(Progress::new(settings.probe(options.isolation))),
            paused: BTreeSet::new(),
            postponed: None,
        })
    }

    fn consumer(&self) -> &BaseConsumer<Membership> {
        self.consumer.as_ref().expect("the consumer is there until the subscription is dropped")
    }

    fn next_question(&mut self) -> Option<Polled> {
        let question = self.consumer().context().questions.lock().pop_front()?;
        Some(match question {
            Question::Assign(partitions) => {
                self.held.clone_from(&partitions);
                Polled::Assigned(partitions)
            }
            Question::Revoke(partitions) if self.assignment_lost() => Polled::Lost(partitions),
            Question::Revoke(partitions) => Polled::Revoked(partitions),
        })
    }

    fn is_asked(&self) -> bool {
        !self.consumer().context().questions.lock().is_empty()
    }

    /// The error that made this member unusable. librdkafka drops its partitions then without asking: whoever
    /// went on polling would wait for ever.
    fn fatal(&self) -> Option<LogError> {
        let (code, reason) = self.consumer().client().fatal_error()?;
        Some(match code {
            Code::FencedInstanceId => LogError::Replaced(reason),
            _ => LogError::Fatal(reason),
        })
    }

    /// True when no other process took this member's name. librdkafka gives up the id of a member whose session ended
    /// while the coordinator was away; its next heartbeat, without one, looks like another member's to the coordinator,
    /// and it is fenced by itself (<https://github.com/confluentinc/librdkafka/issues/3437>).
    fn is_fenced_by_itself(&self) -> bool {
        if !matches!(self.fatal(), Some(LogError::Replaced(_))) {
            return false;
        }
        let consumer = self.consumer();
        let deadline = Instant::now() + FENCE_PATIENCE;
        // The fence is seen at once; the line that tells of the session stands in the queue.
        while !consumer.context().session_over.load(Ordering::Acquire) {
            if Instant::now() >= deadline {
                return false;
            }
            // Whatever else is there is of no use any more: it is read again.
            let _ = consumer.poll(FENCE_PATIENCE / 10);
        }
        true
    }

    /// Goes on as a new member of the same name. What the old one had is lost.
    fn succeed(&mut self) -> Result<Polled, LogError> {
        warn!(
            group = self.config.get("group.id"),
            "the session ended and the member was fenced by itself; joining anew"
        );
        if let Some(old) = self.consumer.replace(join(&self.config, &self.topics)?) {
            leave(old);
        }
        self.forget();
        self.postponed = None;
        let lost = std::mem::take(&mut self.held);
        self.succeeded = !lost.is_empty();
        Ok(if lost.is_empty() { Polled::Records(0) } else { Polled::Lost(lost) })
    }

    fn forget(&mut self) {
        self.places.clear();
        self.progress.lock().forget();
        self.lift_pauses();
        self.group = None;
    }

    /// A pause outlives the assignment it was made in: the partition would be assigned again and never read. Only what is
    /// paused may be resumed: of anything else librdkafka throws away what it has fetched, and reads on behind it.
    fn lift_pauses(&mut self) {
        let paused = std::mem::take(&mut self.paused);
        if !paused.is_empty()
            && let Err(error) = self.consumer().resume(&list(&paused))
        {
            debug!(%error, "could not resume partitions that are given up");
        }
    }

    /// The result of a call about partitions, which a member that was fenced by itself has lost: the next poll tells.
    fn unless_lost(&self, result: Result<(), LogError>) -> Result<(), LogError> {
        if result.is_err() && self.is_fenced_by_itself() { Ok(()) } else { result }
    }

    /// What an error event means to the application; `None` for what librdkafka mends by itself.
    fn judge(&self, error: &KafkaError) -> Option<LogError> {
        if let Some(fatal) = self.fatal() {
            return Some(fatal);
        }
        let code = error.rdkafka_error_code()?;
        let reason = || self.consumer().context().reason.lock().clone();
        match code {
            Code::AutoOffsetReset | Code::OffsetOutOfRange | Code::LogTruncation => {
                Some(self.out_of_range().unwrap_or_else(|| LogError::Unavailable(reason())))
            }
            code if is_unknown_topic(code) => {
                let reason = reason();
                // The longest, for one name may be the beginning of another.
                let named = self.topics.iter().filter(|topic| reason.contains(*topic)).max_by_key(|topic| topic.len());
                Some(LogError::UnknownTopic(named.cloned().unwrap_or_else(|| self.topics.join(", "))))
            }
            code if is_mended(code) => None,
            // The group takes the partitions away, which is told as an event of its own.
            Code::PollExceeded => None,
            code if is_refusal(code) => Some(LogError::Fatal(reason())),
            code => Some(classify_code(code, &reason(), None)),
        }
    }

    /// The assigned partition whose position is not among the offsets kept.
    fn out_of_range(&self) -> Option<LogError> {
        for (at, position) in self.places.positions() {
            let Position::Offset(offset) = position else { continue };
            match self.queries.watermarks(&at, Isolation::ReadUncommitted, WATERMARK_PATIENCE) {
                Ok((start, end)) if offset < start || offset > end => {
                    return Some(LogError::OffsetOutOfRange { at, offset, start, end });
                }
                Ok(_) => {}
                Err(error) => return Some(error),
            }
        }
        None
    }

    /// Begins to fetch anew, the same partitions from where they stand: brings back a partition that
    /// librdkafka has stopped after an error.
    fn assign_anew(&self) -> Result<(), LogError> {
        let failed = |error| classify(&error, "assigning partitions anew", None);
        self.consumer().assign(&list_at(&self.places.positions())?).map_err(failed)?;
        if !self.paused.is_empty() {
            self.consumer().pause(&list(&self.paused)).map_err(failed)?;
        }
        Ok(())
    }

    fn poll_member(
        &mut self,
        max: usize,
        timeout: Duration,
        visit: &mut dyn FnMut(&RecordRef<'_>),
    ) -> Result<Polled, LogError> {
        if let Some(error) = self.postponed.take() {
            return Err(error);
        }
        if let Some(question) = self.next_question() {
            return Ok(question);
        }
        let deadline = Instant::now() + timeout;
        let mut wait = timeout;
        let mut visited = 0;
        let mut away = None;
        while visited < max {
            // Not by the method: the places change while the message is lent.
            let consumer = self.consumer.as_ref().expect("the consumer is there until the subscription is dropped");
            consumer.context().lifeline.mend(consumer.client());
            match consumer.poll(wait) {
                Some(Ok(message)) => {
                    self.places.visited(message.topic(), message.partition(), message.offset());
                    lend(&message, visit);
                    visited += 1;
                    // Only what is there already: a record is not kept waiting for the next.
                    wait = Duration::ZERO;
                    continue;
                }
                Some(Err(error)) => match self.judge(&error) {
                    None => {}
                    // Hundreds of these may stand in front of a question.
                    Some(error) if error.is_retriable() => away = Some(error),
                    Some(error) if visited == 0 => return Err(error),
                    Some(error) => {
                        self.postponed = Some(error);
                        break;
                    }
                },
                None => {}
            }
            if visited > 0 || self.is_asked() {
                break;
            }
            wait = deadline.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                break;
            }
        }
        if visited > 0 {
            return Ok(Polled::Records(visited));
        }
        match self.next_question() {
            Some(question) => Ok(question),
            None => self.fatal().or(away).map_or(Ok(Polled::Records(0)), Err),
        }
    }
}

impl Subscription for KafkaSubscription {
    fn poll(
        &mut self,
        max: usize,
        timeout: Duration,
        visit: &mut dyn FnMut(&RecordRef<'_>),
    ) -> Result<Polled, LogError> {
        match self.poll_member(max, timeout, visit) {
            Err(LogError::Replaced(_)) if self.is_fenced_by_itself() => self.succeed(),
            other => other,
        }
    }

    fn assign(&mut self, from: &[(TopicPartition, Position)]) -> Result<(), LogError> {
        let from = self.queries.pin(from, self.isolation)?;
        self.lift_pauses();
        if let Err(error) = self.consumer().assign(&list_at(&from)?) {
            return self.unless_lost(Err(classify(&error, "assigning partitions", None)));
        }
        self.places.assign(&from);
        self.progress.lock().forget();
        self.group = self.consumer().group_metadata().map(|metadata| GroupMetadata(Arc::new(metadata)));
        Ok(())
    }

    fn release(&mut self) -> Result<(), LogError> {
        self.forget();
        self.held.clear();
        if std::mem::take(&mut self.succeeded) {
            return Ok(());
        }
        self.consumer().unassign().map_err(|error| classify(&error, "giving up partitions", None))
    }

    fn seek(&mut self, to: &[(TopicPartition, Position)]) -> Result<(), LogError> {
        if to.is_empty() {
            return Ok(());
        }
        let to = self.queries.pin(to, self.isolation)?;
        let wanted = list_at(&to)?;
        for (at, position) in &to {
            if !self.places.seek(at, *position) {
                return Err(LogError::Invalid(format!("{at} is not assigned and cannot be sought")));
            }
        }
        self.progress.lock().forget();
        let sought = self
            .consumer()
            .seek_partitions(wanted, SEEK_PATIENCE)
            .map_err(|error| classify(&error, "seeking", None))?;
        if sought.elements().iter().all(|element| element.error().is_ok()) {
            return Ok(());
        }
        // Not being fetched: just assigned, or stopped after an error.
        self.unless_lost(self.assign_anew())
    }

    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        let paused = self.consumer().pause(&list(partitions));
        self.unless_lost(paused.map_err(|error| classify(&error, "pausing", None)))?;
        self.paused.extend(partitions.iter().cloned());
        Ok(())
    }

    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        let resumed = self.consumer().resume(&list(partitions));
        self.unless_lost(resumed.map_err(|error| classify(&error, "resuming", None)))?;
        for at in partitions {
            self.paused.remove(at);
        }
        Ok(())
    }

    fn position(&self, at: &TopicPartition) -> Option<i64> {
        let place = self.places.get(at)?;
        self.progress.lock().position(&self.queries, at, place.told, place.read_to)
    }

    fn committed(&mut self, of: &[TopicPartition], timeout: Duration) -> Result<Vec<Committed>, LogError> {
        coordinator::committed(self.consumer(), of, "reading committed offsets", timeout)
    }

    fn commit(&mut self, offsets: &[NextOffset]) -> Result<(), LogError> {
        if offsets.is_empty() {
            return Ok(());
        }
        self.consumer()
            .commit(&list_to_commit(offsets)?, CommitMode::Async)
            .map_err(|error| classify(&error, "committing offsets", None))
    }

    fn group(&self) -> Result<GroupMetadata, LogError> {
        self.group.clone().ok_or_else(|| LogError::Invalid("there is no group membership before an assignment".into()))
    }

    fn assignment_lost(&self) -> bool {
        self.succeeded || self.consumer().assignment_lost()
    }
}

impl Drop for KafkaSubscription {
    fn drop(&mut self) {
        if let Some(consumer) = self.consumer.take() {
            leave(consumer);
        }
    }
}

fn join(config: &ClientConfig, topics: &[String]) -> Result<BaseConsumer<Membership>, LogError> {
    let failed = |error| {
        let group = config.get("group.id").unwrap_or_default();
        classify(&error, &format!("joining group `{group}`"), None)
    };
    let consumer: BaseConsumer<Membership> =
        config.create_with_context(Membership::new(Lifeline::of(config))).map_err(failed)?;
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    consumer.subscribe(&topics).map_err(failed)?;
    Ok(consumer)
}

fn leave(consumer: BaseConsumer<Membership>) {
    consumer.context().closing.store(true, Ordering::Release);
    // Answers a question that was asked and not answered; closing would wait for it.
    if let Err(error) = consumer.unassign() {
        warn!(%error, "could not give up partitions while closing");
    }
    close(consumer, CLOSE_PATIENCE);
}
