//! A log whose transactions fail as told.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use stream_runtime::log::{
    ClusterId, Committed, GroupMetadata, Isolation, Log, LogError, NewRecord, NextOffset, Position, Publisher, Reader,
    RecordRef, SubscribeOptions, Subscription, TopicInfo, TopicOutcome, TopicPartition, TopicSpec, TransactionError,
    Transactor, Verdict,
};

/// The call that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    Init,
    Begin,
    Produce,
    /// Before anything is committed.
    Commit,
    /// After it is committed, as when the answer is lost.
    Committed,
    Abort,
}

/// Failures to come, in order: the first one whose call is made is used up.
#[derive(Clone, Default)]
pub struct Faults(Arc<Mutex<VecDeque<(Call, Verdict)>>>, Arc<Mutex<Option<String>>>, Arc<Silence>);

/// Whose readers are given nothing, and whether one has asked in vain.
#[derive(Default)]
struct Silence {
    topic: Mutex<Option<String>>,
    was_met: AtomicBool,
}

impl Faults {
    /// Lets a topic seem to have committed records that never come.
    pub fn never_reach_the_end_of(&self, topic: &str) {
        *self.1.lock().unwrap() = Some(topic.to_owned());
    }

    fn seems_longer(&self, topic: &str) -> bool {
        self.1.lock().unwrap().as_deref() == Some(topic)
    }

    /// From now on readers of this topic wait in vain; `None`: nobody does.
    pub fn keep_waiting(&self, topic: Option<&str>) {
        *self.2.topic.lock().unwrap() = topic.map(str::to_owned);
        self.2.was_met.store(false, Ordering::SeqCst);
    }

    /// True when a reader has waited in vain.
    pub fn has_waited(&self) -> bool {
        self.2.was_met.load(Ordering::SeqCst)
    }

    pub fn add(&self, call: Call, verdict: Verdict) {
        self.0.lock().unwrap().push_back((call, verdict));
    }

    pub fn clear(&self) {
        self.0.lock().unwrap().clear();
    }

    pub fn is_empty(&self) -> bool {
        self.0.lock().unwrap().is_empty()
    }

    fn take(&self, call: Call) -> Result<(), TransactionError> {
        let mut faults = self.0.lock().unwrap();
        match faults.front() {
            Some((of, verdict)) if *of == call => {
                let verdict = *verdict;
                faults.pop_front();
                Err(TransactionError::new(verdict, format!("injected at {call:?}")))
            }
            _ => Ok(()),
        }
    }
}

pub struct FaultyLog {
    pub inner: Arc<dyn Log>,
    pub faults: Faults,
}

struct FaultyTransactor {
    inner: Box<dyn Transactor>,
    faults: Faults,
}

impl Transactor for FaultyTransactor {
    fn init(&mut self, timeout: Duration) -> Result<(), TransactionError> {
        self.faults.take(Call::Init)?;
        self.inner.init(timeout)
    }

    fn begin(&mut self) -> Result<(), TransactionError> {
        self.faults.take(Call::Begin)?;
        self.inner.begin()
    }

    fn produce(&mut self, record: &NewRecord) -> Result<(), TransactionError> {
        self.faults.take(Call::Produce)?;
        self.inner.produce(record)
    }

    fn commit(
        &mut self,
        offsets: &[NextOffset],
        group: &GroupMetadata,
        timeout: Duration,
    ) -> Result<(), TransactionError> {
        self.faults.take(Call::Commit)?;
        self.inner.commit(offsets, group, timeout)?;
        self.faults.take(Call::Committed)
    }

    fn abort(&mut self, timeout: Duration) -> Result<(), TransactionError> {
        self.faults.take(Call::Abort)?;
        self.inner.abort(timeout)
    }
}

struct FaultyReader {
    inner: Box<dyn Reader>,
    faults: Faults,
    topics: Vec<String>,
}

impl Reader for FaultyReader {
    fn assign(&mut self, from: &[(TopicPartition, Position)]) -> Result<(), LogError> {
        self.topics = from.iter().map(|(at, _)| at.topic.to_string()).collect();
        self.inner.assign(from)
    }

    fn poll(
        &mut self,
        max: usize,
        timeout: Duration,
        visit: &mut dyn FnMut(&RecordRef<'_>),
    ) -> Result<usize, LogError> {
        let silence = &self.faults.2;
        if silence.topic.lock().unwrap().as_ref().is_some_and(|topic| self.topics.contains(topic)) {
            silence.was_met.store(true, Ordering::SeqCst);
            std::thread::yield_now();
            return Ok(0);
        }
        self.inner.poll(max, timeout, visit)
    }

    fn position(&self, at: &TopicPartition) -> Option<i64> {
        self.inner.position(at)
    }
}

impl Log for FaultyLog {
    fn publisher(&self) -> Result<Arc<dyn Publisher>, LogError> {
        self.inner.publisher()
    }

    fn transactor(&self, transactional_id: &str) -> Result<Box<dyn Transactor>, LogError> {
        let inner = self.inner.transactor(transactional_id)?;
        Ok(Box::new(FaultyTransactor { inner, faults: self.faults.clone() }))
    }

    fn subscribe(&self, options: SubscribeOptions) -> Result<Box<dyn Subscription>, LogError> {
        self.inner.subscribe(options)
    }

    fn reader(&self, isolation: Isolation) -> Result<Box<dyn Reader>, LogError> {
        Ok(Box::new(FaultyReader {
            inner: self.inner.reader(isolation)?,
            faults: self.faults.clone(),
            topics: Vec::new(),
        }))
    }

    fn end_offset(&self, at: &TopicPartition, isolation: Isolation, timeout: Duration) -> Result<i64, LogError> {
        let end = self.inner.end_offset(at, isolation, timeout)?;
        let longer = isolation == Isolation::ReadCommitted && self.faults.seems_longer(&at.topic);
        Ok(end + i64::from(longer))
    }

    fn start_offset(&self, at: &TopicPartition, timeout: Duration) -> Result<i64, LogError> {
        self.inner.start_offset(at, timeout)
    }

    fn offset_for_time(&self, at: &TopicPartition, timestamp_ms: i64, timeout: Duration) -> Result<i64, LogError> {
        self.inner.offset_for_time(at, timestamp_ms, timeout)
    }

    fn topics(&self, names: Option<&[&str]>, timeout: Duration) -> Result<Vec<TopicInfo>, LogError> {
        self.inner.topics(names, timeout)
    }

    fn create_topics(&self, specs: &[TopicSpec], timeout: Duration) -> Result<Vec<(String, TopicOutcome)>, LogError> {
        self.inner.create_topics(specs, timeout)
    }

    fn committed(&self, group: &str, of: &[TopicPartition], timeout: Duration) -> Result<Vec<Committed>, LogError> {
        self.inner.committed(group, of, timeout)
    }

    fn cluster_id(&self, timeout: Duration) -> Result<ClusterId, LogError> {
        self.inner.cluster_id(timeout)
    }

    fn topic_id(&self, topic: &str, timeout: Duration) -> Result<String, LogError> {
        self.inner.topic_id(topic, timeout)
    }

    fn retention(&self, topic: &str, timeout: Duration) -> Result<Option<Duration>, LogError> {
        self.inner.retention(topic, timeout)
    }
}
