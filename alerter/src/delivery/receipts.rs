//! What a receiver has taken, group by group: on a compacted topic, so that the next alerter knows.
//!
//! Before a notification is sent, the receipt says that it is being tried; after the receiver has taken it, that it has,
//! and where the message is to be found. Who finds a try without its end after a crash knows that the receiver may have
//! the notification already: the second delivery is counted.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use stream_runtime::log::{Delivery, Isolation, Log, LogError, NewRecord, Position, Publisher, TopicPartition};
use telemetry_schemas::{EventTime, Millis, topics};

use super::queue::Place;
use crate::receivers::Reference;

const CALL: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);
const POLL_RECORDS: usize = 1_000;

/// The form of a receipt that this program writes. One of a later form is refused: read as no receipt, what was told would
/// be told again.
const VERSION: u32 = 1;

/// Between the receiver and the group in a receipt's key.
const SEPARATOR: char = '\u{1f}';

/// The record of a group and a receiver.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The form it was written in; the first one had no number.
    #[serde(default)]
    pub version: u32,
    /// The place in the outbox of the last notification that is settled; −1: none is.
    #[serde(default)]
    pub partition: i32,
    #[serde(default = "nowhere")]
    pub offset: i64,
    /// When that was decided, in milliseconds.
    #[serde(default)]
    pub created_at: i64,
    /// The notification that is being tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trying: Option<String>,
    /// Who was told that the group fires, and has not been told its end: receivers by name, with what they want to be
    /// told again.
    #[serde(default)]
    pub told: BTreeMap<String, Reference>,
    /// An alarm was given up and nobody was told of the group: nothing is said about it until the next alarm.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unheard: bool,
    /// What was not delivered, the latest last: for those who ask why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undelivered: Vec<Undelivered>,
    /// When this was written, in milliseconds.
    #[serde(default)]
    pub written_at: i64,
}

/// A notification that was not delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undelivered {
    /// When it was given up, in milliseconds.
    pub at: i64,
    /// Why it was to be told: the reason of the decision.
    pub decision: String,
    /// What became of it, as it is counted.
    pub outcome: String,
    /// What the receiver said; empty where the outcome says all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

fn nowhere() -> i64 {
    -1
}

impl Receipt {
    /// Whether the notification at this place was settled before.
    pub fn covers(&self, place: &Place, created_at: EventTime) -> bool {
        // A topic that was made anew counts its offsets anew, but not its time.
        self.partition == place.at.partition && place.offset <= self.offset && created_at.0 <= self.created_at
    }

    /// Notes that the notification at this place is settled.
    pub fn settle(&mut self, place: &Place, created_at: EventTime) {
        (self.partition, self.offset, self.created_at) = (place.at.partition, place.offset, created_at.0);
        self.trying = None;
    }

    /// Whether an alarm was given up, and nobody has heard of the group.
    pub fn is_unheard(&self) -> bool {
        self.unheard && self.told.is_empty()
    }

    /// Notes that a notification is not delivered.
    pub fn gave_up(&mut self, entry: Undelivered) {
        if self.undelivered.len() >= MAX_UNDELIVERED {
            self.undelivered.remove(0);
        }
        let detail = crate::message::clip(&entry.detail, MAX_DETAIL);
        self.undelivered.push(Undelivered { detail, ..entry });
    }

    /// Nobody waits for the group's end.
    fn is_over(&self) -> bool {
        self.told.is_empty() && self.trying.is_none() && !self.unheard
    }
}

/// Entries of what was not delivered that are kept; the oldest go first.
const MAX_UNDELIVERED: usize = 5;
/// Characters of what a receiver said.
const MAX_DETAIL: usize = 300;

/// What a record holds.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    Receipt(Receipt),
    /// Of a later form, with its version.
    Newer(u32),
    Nothing,
}

pub fn read(value: &[u8]) -> Read {
    /// What every form has.
    #[derive(Deserialize)]
    struct Form {
        #[serde(default)]
        version: u32,
    }
    match serde_json::from_slice::<Form>(value) {
        Ok(form) if form.version > VERSION => Read::Newer(form.version),
        Ok(_) => serde_json::from_slice(value).map_or(Read::Nothing, Read::Receipt),
        Err(_) => Read::Nothing,
    }
}

/// The receipts of one receiver.
pub struct Receipts {
    receiver: String,
    log: Arc<dyn Log>,
    publisher: Arc<dyn Publisher>,
    by_group: Mutex<HashMap<String, Receipt>>,
    keeping: Keeping,
}

/// How long receipts are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keeping {
    /// What has not changed for longer than this is of a group nobody speaks of any more.
    pub any: Millis,
    /// What was not delivered is shown for so long after a group's end.
    pub undelivered: Millis,
}

impl Receipts {
    /// # Errors
    /// When the log has no producer for us.
    pub fn new(receiver: &str, log: Arc<dyn Log>, keeping: Keeping) -> Result<Self, LogError> {
        let publisher = log.publisher()?;
        Ok(Self { receiver: receiver.to_owned(), log, publisher, by_group: Mutex::default(), keeping })
    }

    /// Reads what is there of this receiver, in place of what was known. Blocks.
    pub fn load(&self, now: EventTime) -> Result<(), LogError> {
        let mut found: HashMap<String, Receipt> = HashMap::new();
        let prefix = self.key("");
        for at in self.partitions()? {
            let end = self.log.end_offset(&at, Isolation::ReadCommitted, CALL)?;
            let mut reader = self.log.reader(Isolation::ReadCommitted)?;
            reader.assign(&[(at.clone(), Position::Beginning)])?;
            let mut newer = None;
            let mut keep = |record: &stream_runtime::log::RecordRef<'_>| {
                let key = record.key.and_then(|key| std::str::from_utf8(key).ok());
                let Some(group) = key.and_then(|key| key.strip_prefix(&prefix)) else { return };
                match record.value.map(read) {
                    Some(Read::Receipt(receipt)) => found.insert(group.to_owned(), receipt),
                    Some(Read::Newer(version)) => {
                        newer = Some((record.offset, version));
                        None
                    }
                    Some(Read::Nothing) => {
                        tracing::error!(receiver = self.receiver, %at, offset = record.offset, "a receipt is unreadable");
                        found.remove(group)
                    }
                    None => found.remove(group),
                };
            };
            while end > 0 && reader.position(&at).is_none_or(|position| position < end) {
                reader.poll(POLL_RECORDS, POLL, &mut keep)?;
            }
            if let Some((offset, version)) = newer {
                return Err(LogError::Invalid(format!(
                    "the receipt at {at} offset {offset} is of a newer program (version {version}, this one knows \
                     {VERSION}): without it what was told would be told again; start the newer program"
                )));
            }
        }
        found.retain(|_, receipt| now.since(EventTime(receipt.written_at)) <= self.keeping.any);
        *self.by_group.lock() = found;
        Ok(())
    }

    fn partitions(&self) -> Result<Vec<TopicPartition>, LogError> {
        let topics = self.log.topics(Some(&[topics::ALERT_DELIVERIES]), CALL)?;
        let count = topics.first().map_or(0, |topic| topic.partitions);
        Ok((0..count).map(|partition| TopicPartition::new(topics::ALERT_DELIVERIES, partition)).collect())
    }

    pub fn get(&self, group: &str) -> Option<Receipt> {
        self.by_group.lock().get(group).cloned()
    }

    /// Groups that are known.
    pub fn len(&self) -> usize {
        self.by_group.lock().len()
    }

    /// Writes a receipt; done when it is durable.
    pub async fn write(&self, group: &str, receipt: Receipt, now: EventTime) -> Result<(), LogError> {
        self.publish(group, receipt, now)?.await.map(drop)
    }

    fn publish(&self, group: &str, receipt: Receipt, now: EventTime) -> Result<Delivery, LogError> {
        let receipt = Receipt { version: VERSION, written_at: now.0, ..receipt };
        // A receipt is plain data: it can always be written down.
        let value = serde_json::to_vec(&receipt).unwrap_or_default();
        self.by_group.lock().insert(group.to_owned(), receipt);
        let record = NewRecord::new(topics::ALERT_DELIVERIES, self.key(group), value).with_timestamp(now.0);
        self.publisher.publish(record)
    }

    /// Notes what is not delivered without having been tried. Nothing rests on it, so nobody waits for it.
    pub fn note(&self, group: &str, entry: Undelivered, now: EventTime) {
        let mut receipt = self.get(group).unwrap_or_default();
        receipt.gave_up(entry);
        drop(self.publish(group, receipt, now));
    }

    /// Forgets groups whose end was told, and told so long ago that `settled` says it is committed; and those nobody
    /// speaks of any more. Nothing waits for it: what is forgotten too late does no harm.
    pub fn tidy(&self, now: EventTime, settled: impl Fn(&Receipt) -> bool) {
        let mut over = Vec::new();
        self.by_group.lock().retain(|group, receipt| {
            let age = now.since(EventTime(receipt.written_at));
            let is_shown = !receipt.undelivered.is_empty() && age <= self.keeping.undelivered;
            let is_over = (receipt.is_over() && !is_shown && settled(receipt)) || age > self.keeping.any;
            if is_over {
                over.push(group.clone());
            }
            !is_over
        });
        for group in over {
            let mut record =
                NewRecord::new(topics::ALERT_DELIVERIES, self.key(&group), Vec::new()).with_timestamp(now.0);
            record.value = None;
            if self.publisher.publish(record).is_err() {
                return;
            }
        }
    }

    fn key(&self, group: &str) -> String {
        format!("{}{SEPARATOR}{group}", self.receiver)
    }
}

/// An alarm and its end, of which nobody was told.
pub const RESOLVED_BEFORE_DELIVERED: &str = "resolved_before_delivered";
/// Who has taken what nobody was told of.
pub const NOTHING_TO_ACKNOWLEDGE: &str = "nothing_to_acknowledge";
/// It was refused for good, or cannot be put into words.
pub const FAILED: &str = "failed";
/// It was too old to be told when the receiver could be told.
pub const EXPIRED: &str = "expired";

/// What an outcome means, for those who ask why.
pub fn meaning(outcome: &str) -> &'static str {
    match outcome {
        RESOLVED_BEFORE_DELIVERED => "not sent: it was over before the receiver had heard of it",
        NOTHING_TO_ACKNOWLEDGE => "not sent: the receiver never got the alarm that somebody has taken",
        FAILED => "given up: the receiver refused it; the next alarm is sent all the same",
        EXPIRED => "given up: it was older than max_notification_age when the receiver could be told",
        _ => "",
    }
}

/// The receiver and the group a receipt is of.
pub fn of(key: &[u8]) -> Option<(&str, &str)> {
    std::str::from_utf8(key).ok()?.split_once(SEPARATOR)
}

#[cfg(test)]
mod tests {
    use stream_runtime::log::{TopicSpec, embedded::EmbeddedLog};

    use super::*;

    const NOW: EventTime = EventTime(1_000_000);
    const KEEPING: Keeping = Keeping { any: Millis::from_minutes(60), undelivered: Millis::from_minutes(10) };

    fn receipts() -> (Arc<dyn Log>, Receipts) {
        let log: Arc<dyn Log> = Arc::new(EmbeddedLog::in_memory());
        log.create_topics(&[TopicSpec::new(topics::ALERT_DELIVERIES, 2)], CALL).unwrap();
        let receipts = Receipts::new("pager", log.clone(), KEEPING).unwrap();
        (log, receipts)
    }

    async fn put(log: &dyn Log, receipts: &Receipts, value: &str) {
        let record = NewRecord::new(topics::ALERT_DELIVERIES, receipts.key("g"), value.to_owned());
        log.publisher().unwrap().publish(record).unwrap().await.unwrap();
    }

    #[tokio::test]
    async fn what_was_written_is_there_for_the_next_alerter() {
        let (_log, receipts) = receipts();
        receipts.write("g", Receipt { offset: 7, ..Receipt::default() }, NOW).await.unwrap();
        receipts.by_group.lock().clear();
        receipts.load(NOW).unwrap();
        assert_eq!(receipts.get("g").map(|receipt| (receipt.version, receipt.offset)), Some((VERSION, 7)));
    }

    #[tokio::test]
    async fn the_first_form_had_no_version() {
        let (log, receipts) = receipts();
        put(&*log, &receipts, r#"{"partition":1,"offset":7,"written_at":1000000}"#).await;
        receipts.load(NOW).unwrap();
        assert_eq!(receipts.get("g").map(|receipt| receipt.offset), Some(7));
    }

    #[tokio::test]
    async fn one_of_a_newer_program_is_refused_with_its_place() {
        let (log, receipts) = receipts();
        put(&*log, &receipts, r#"{"version":2,"place":"1/7"}"#).await;
        let refused = receipts.load(NOW).unwrap_err();
        assert!(!refused.is_retriable(), "{refused}");
        assert!(refused.to_string().contains("version 2") && refused.to_string().contains("offset 0"), "{refused}");
    }

    /// However long it takes until its end comes: that is not told either.
    #[tokio::test]
    async fn an_alarm_nobody_heard_is_remembered_until_its_end_and_shown_after_it() {
        let (_log, receipts) = receipts();
        let entry = |outcome: &str| Undelivered {
            at: NOW.0,
            decision: "first_notification".to_owned(),
            outcome: outcome.to_owned(),
            detail: "x".repeat(1_000),
        };
        let mut receipt = Receipt { unheard: true, ..Receipt::default() };
        for _ in 0..10 {
            receipt.gave_up(entry("failed"));
        }
        receipts.write("g", receipt.clone(), NOW).await.unwrap();
        receipts.note("h", entry("resolved_before_delivered"), NOW);
        receipts.tidy(NOW.plus(Millis::from_minutes(9)), |_| true);
        assert!(receipts.get("g").is_some_and(|receipt| receipt.is_unheard()) && receipts.get("h").is_some());
        receipts.tidy(NOW.plus(Millis::from_minutes(11)), |_| true);
        let kept = receipts.get("g").expect("its end has not come");
        assert!(kept.is_unheard() && receipts.get("h").is_none());
        assert_eq!((kept.undelivered.len(), kept.undelivered[0].detail.chars().count()), (5, 300), "it is bounded");
        receipts.write("g", Receipt { unheard: false, undelivered: Vec::new(), ..receipt }, NOW).await.unwrap();
        receipts.tidy(NOW, |_| true);
        assert_eq!(receipts.get("g"), None);
    }

    #[tokio::test]
    async fn an_unreadable_one_counts_as_none() {
        let (log, receipts) = receipts();
        receipts.write("g", Receipt::default(), NOW).await.unwrap();
        put(&*log, &receipts, "rubbish").await;
        receipts.load(NOW).unwrap();
        assert_eq!(receipts.get("g"), None);
    }
}
