//! The one thread that writes: takes what is queued, writes it as one durable batch, then answers and wakes.

mod plan;
mod queue;
mod request;
mod sweep;

use std::{
    sync::{Arc, atomic::Ordering, mpsc::SyncSender},
    thread::JoinHandle,
    time::{Duration, Instant},
};

pub(super) use queue::{Queue, closed};
pub use request::Swept;
pub(super) use request::{Created, Placed, PlacedOffset, Request, Transaction, Turn};

use self::{plan::Plan, sweep::Progress};
use super::{
    catalog::{Catalog, TopicEntry, retention_ms},
    group::Coordinator,
    keys,
    options::Clock,
    storage::{Change, Space, Storage},
    values::{self, PartitionState},
};
use crate::log::{LogError, TopicOutcome, TopicSpec, TransactionError, Verdict};

/// How often retention is looked at.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// What the writer works on.
pub(super) struct Writer {
    pub storage: Arc<dyn Storage>,
    pub catalog: Arc<Catalog>,
    pub coordinator: Arc<Coordinator>,
    pub queue: Arc<Queue>,
    pub clock: Clock,
    pub retention_bytes: u64,
}

/// Answers that wait for the batch to be durable.
type Answer = Box<dyn FnOnce(Result<(), &LogError>)>;

/// A sweep that is under way.
struct Sweep {
    progress: Progress,
    swept: Swept,
    replies: Vec<SyncSender<Result<Swept, LogError>>>,
}

/// Fails what is queued when the writer ends, however it ends.
struct AbandonOnDrop(Arc<Queue>);

impl Drop for AbandonOnDrop {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl Writer {
    pub fn start(self) -> Result<JoinHandle<()>, LogError> {
        std::thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || self.run())
            .map_err(|error| LogError::Fatal(format!("cannot start the log's writer: {error}")))
    }

    fn run(self) {
        let _abandon = AbandonOnDrop(self.queue.clone());
        let mut broken = None;
        let mut sweep: Option<Sweep> = None;
        let mut next_sweep = Instant::now() + SWEEP_EVERY;
        loop {
            let wait_until = if sweep.is_some() { Instant::now() } else { next_sweep };
            let Some(requests) = self.queue.take(wait_until) else {
                return;
            };
            self.handle(requests, &mut broken, &mut sweep);
            if sweep.is_none() && Instant::now() >= next_sweep {
                sweep = Some(Sweep { progress: Progress::default(), swept: Swept::default(), replies: Vec::new() });
            }
            if let Some(going) = sweep.take() {
                next_sweep = Instant::now() + SWEEP_EVERY;
                sweep = self.sweep(going, &mut broken);
            }
        }
    }

    /// Does what was asked, in order, with one sync for all of it.
    fn handle(&self, requests: Vec<Request>, broken: &mut Option<LogError>, sweep: &mut Option<Sweep>) {
        if requests.is_empty() {
            return;
        }
        let mut plan = Plan::new(&*self.storage, (self.clock)());
        let mut answers: Vec<Answer> = Vec::with_capacity(requests.len());
        for request in requests {
            match request {
                Request::Publish { placed, reply } => {
                    let appended = check(broken.as_ref()).and_then(|()| plan.append(&placed));
                    match appended {
                        Ok(offset) => answers.push(Box::new(move |written| {
                            // Nobody listens any more when the delivery was dropped: that is theirs to decide.
                            let _ = reply.send(written.map(|()| (placed.partition, offset)).map_err(Clone::clone));
                        })),
                        Err(error) => {
                            let _ = reply.send(Err(error.clone()));
                            break_on(broken, error);
                        }
                    }
                }
                Request::Commit { transaction, reply } => {
                    let planned = check(broken.as_ref()).map_err(fatal).and_then(|()| self.admit(&transaction));
                    let planned = planned.and_then(|()| {
                        add(&mut plan, transaction).map_err(|error| {
                            break_on(broken, error.clone());
                            fatal(error)
                        })
                    });
                    match planned {
                        Ok(()) => answers.push(Box::new(move |written| {
                            let _ = reply.send(written.map_err(|error| fatal(error.clone())));
                        })),
                        Err(error) => {
                            let _ = reply.send(Err(error));
                        }
                    }
                }
                Request::Fence { current, reply } => {
                    let ours = current.fetch_add(1, Ordering::AcqRel) + 1;
                    answers.push(Box::new(move |_| {
                        let _ = reply.send(ours);
                    }));
                }
                Request::Barrier { reply } => answers.push(Box::new(move |_| {
                    let _ = reply.send(());
                })),
                Request::Create { specs, reply } => {
                    let created = check(broken.as_ref()).and_then(|()| self.create(&specs));
                    let _ = reply.send(created);
                }
                Request::Sweep { reply } => {
                    // A sweep that is under way may have passed what the caller wants gone: start over.
                    let mut replies = sweep.take().map(|going| going.replies).unwrap_or_default();
                    replies.push(reply);
                    *sweep = Some(Sweep { progress: Progress::default(), swept: Swept::default(), replies });
                }
            }
        }
        let written = self.write(plan, broken);
        for answer in answers {
            answer(written.as_ref().copied());
        }
    }

    /// Makes a batch durable and shows it.
    fn write(&self, plan: Plan<'_>, broken: &mut Option<LogError>) -> Result<(), LogError> {
        // A plan that failed half-way must not be written: parts of a transaction may be missing from it.
        check(broken.as_ref())?;
        let (changes, touched) = plan.finish();
        if changes.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.storage.apply(changes) {
            tracing::error!(%error, "the embedded log cannot be written");
            break_on(broken, error.clone());
            return Err(error);
        }
        let mut woken = None;
        for partition in &touched {
            if let Ok(shown) = partition.topic.partition(partition.partition) {
                shown.publish(partition.state);
            }
        }
        for partition in &touched {
            if woken != Some(partition.topic.number) {
                partition.topic.wake_listeners();
                woken = Some(partition.topic.number);
            }
        }
        Ok(())
    }

    /// Whether whoever commits still may.
    fn admit(&self, transaction: &Transaction) -> Result<(), TransactionError> {
        if transaction.turn.as_ref().is_some_and(Turn::is_over) {
            return Err(TransactionError::new(Verdict::Fenced, "another producer has this transactional id"));
        }
        if let Some(proof) = &transaction.proof {
            self.coordinator.check(proof)?;
        }
        Ok(())
    }

    fn create(&self, specs: &[TopicSpec]) -> Created {
        specs.iter().map(|spec| Ok((spec.name.clone(), self.create_one(spec)?))).collect()
    }

    fn create_one(&self, spec: &TopicSpec) -> Result<TopicOutcome, LogError> {
        let retention = retention_ms(spec.retention);
        if let Some(topic) = self.catalog.find(&spec.name) {
            if topic.partition_count() != spec.partitions {
                return Ok(TopicOutcome::PartitionsDiffer { actual: topic.partition_count() });
            }
            if topic.cleanup != spec.cleanup {
                return Err(LogError::Invalid(format!("topic `{}` has another cleanup policy", spec.name)));
            }
            if topic.retention_ms() != retention {
                let entry = TopicEntry { retention_ms: retention, ..topic.entry() };
                self.storage.apply(vec![set(keys::topic(&spec.name), entry.encode())])?;
                topic.set_retention_ms(retention);
            }
            return Ok(TopicOutcome::Exists);
        }
        let entry = TopicEntry::new(self.catalog.next_number(), spec);
        let mut changes = vec![set(keys::topic(&spec.name), entry.encode())];
        for partition in 0..spec.partitions {
            let state = values::encode_partition(PartitionState::default());
            changes.push(set(keys::partition(entry.number, partition), state));
        }
        self.storage.apply(changes)?;
        self.catalog.add(&spec.name, &entry);
        Ok(TopicOutcome::Created)
    }

    /// Does one step of a sweep; returns it while it is not over.
    fn sweep(&self, mut going: Sweep, broken: &mut Option<LogError>) -> Option<Sweep> {
        let now_ms = (self.clock)();
        let mut plan = Plan::new(&*self.storage, now_ms);
        let stepped = check(broken.as_ref())
            .and_then(|()| {
                sweep::plan_step(&mut plan, &*self.storage, &self.catalog, going.progress, self.retention_bytes, now_ms)
            })
            .and_then(|stepped| self.write(plan, broken).map(|()| stepped));
        match stepped {
            Ok((swept, next)) => {
                going.swept.records += swept.records;
                going.swept.bytes += swept.bytes;
                if let Some(progress) = next {
                    return Some(Sweep { progress, ..going });
                }
                for reply in going.replies {
                    let _ = reply.send(Ok(going.swept));
                }
            }
            Err(error) => {
                tracing::error!(%error, "retention could not be applied");
                for reply in going.replies {
                    let _ = reply.send(Err(error.clone()));
                }
            }
        }
        None
    }
}

fn set(key: bytes::Bytes, value: bytes::Bytes) -> Change {
    Change { space: Space::Meta, key, value: Some(value) }
}

fn add(plan: &mut Plan<'_>, transaction: Transaction) -> Result<(), LogError> {
    for placed in &transaction.records {
        plan.append(placed)?;
    }
    for offset in transaction.offsets {
        plan.commit_offset(offset);
    }
    Ok(())
}

/// After a failed write nothing is known of the store any more: only opening it anew tells.
fn break_on(broken: &mut Option<LogError>, error: LogError) {
    broken.get_or_insert(error);
}

fn check(broken: Option<&LogError>) -> Result<(), LogError> {
    broken.cloned().map_or(Ok(()), Err)
}

fn fatal(error: LogError) -> TransactionError {
    TransactionError::new(Verdict::Fatal, error.to_string())
}
