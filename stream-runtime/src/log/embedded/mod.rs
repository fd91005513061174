//! The log in this process: durable on fjall, or in memory for tests. What it promises is in `DESIGN.md` beside
//! this file.

mod catalog;
mod cursor;
mod folder;
mod group;
mod keys;
mod options;
mod publisher;
mod reader;
mod signal;
mod storage;
mod subscription;
mod transactor;
mod values;
mod writer;

use std::{
    collections::HashMap,
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::AtomicU64,
        mpsc::{Receiver, RecvTimeoutError, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::Mutex;

use self::{
    catalog::Catalog,
    cursor::Cursor,
    folder::FolderLock,
    group::Coordinator,
    publisher::EmbeddedPublisher,
    reader::EmbeddedReader,
    signal::Signal,
    storage::{Change, DurableStorage, MemoryStorage, Space, Storage},
    subscription::EmbeddedSubscription,
    transactor::EmbeddedTransactor,
    writer::{Placed, PlacedOffset, Queue, Request, Writer, closed},
};
pub use self::{
    options::{Clock, Options},
    writer::Swept,
};
use super::{
    Cleanup, ClusterId, Committed, Isolation, Log, LogError, NewRecord, NextOffset, Publisher, Reader,
    SubscribeOptions, Subscription, TopicInfo, TopicOutcome, TopicPartition, TopicSpec, Transactor,
    config::EmbeddedConfig,
};

/// Longest key of a compacted topic: its index entry must fit into a key of the store.
const COMPACTED_KEY_BYTES: usize = 32 * 1024;

/// A log within this process. Cheap to clone; closed when the last clone, and the last of the readers and
/// writers made from it, is dropped.
#[derive(Clone)]
pub struct EmbeddedLog {
    inner: Arc<Inner>,
}

struct Inner {
    storage: Arc<dyn Storage>,
    catalog: Arc<Catalog>,
    coordinator: Arc<Coordinator>,
    queue: Arc<Queue>,
    /// The turn of each transactional id.
    turns: Mutex<HashMap<String, Arc<AtomicU64>>>,
    cluster_id: ClusterId,
    record_bytes: usize,
    writer: Option<JoinHandle<()>>,
    /// Given back after everything above is closed.
    _folder: Option<FolderLock>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the log's writer has panicked");
        }
    }
}

impl EmbeddedLog {
    /// Opens or creates the log in the configured folder, which is this process's alone as long as it is open.
    ///
    /// # Errors
    /// One line that says what to do when the folder is in use or cannot be written;
    /// [`LogError::Corrupt`] when what is stored cannot be read.
    pub fn open(config: &EmbeddedConfig) -> Result<Self, LogError> {
        Self::open_with(config, Options { retention_bytes: config.retention_bytes, ..Options::default() })
    }

    /// [`EmbeddedLog::open`] with other options (`retention_bytes` of `options` counts).
    pub fn open_with(config: &EmbeddedConfig, options: Options) -> Result<Self, LogError> {
        let folder = FolderLock::acquire(&config.path)?;
        let storage = DurableStorage::open(&config.path, options.write_buffer_bytes)?;
        Self::start(Arc::new(storage), options, Some(folder))
    }

    /// A log in memory, gone when it is dropped.
    pub fn in_memory() -> Self {
        Self::in_memory_with(Options::default())
    }

    /// [`EmbeddedLog::in_memory`] with a clock and limits of one's own.
    ///
    /// # Panics
    /// When the operating system refuses a thread.
    pub fn in_memory_with(options: Options) -> Self {
        Self::start(Arc::new(MemoryStorage::default()), options, None)
            .expect("nothing is stored in memory that could be damaged")
    }

    fn start(storage: Arc<dyn Storage>, options: Options, folder: Option<FolderLock>) -> Result<Self, LogError> {
        let cluster_id = identify(&*storage)?;
        let catalog = Arc::new(Catalog::load(&*storage)?);
        let coordinator = Arc::new(Coordinator::default());
        let queue = Arc::new(Queue::new(options.queue_bytes));
        let writer = Writer {
            storage: storage.clone(),
            catalog: catalog.clone(),
            coordinator: coordinator.clone(),
            queue: queue.clone(),
            clock: options.clock,
            retention_bytes: options.retention_bytes,
        };
        let writer = Some(writer.start()?);
        let turns = Mutex::default();
        let record_bytes = options.record_bytes;
        let inner =
            Inner { storage, catalog, coordinator, queue, turns, cluster_id, record_bytes, writer, _folder: folder };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Applies retention now rather than within the next minute. Blocks.
    pub fn sweep(&self) -> Result<Swept, LogError> {
        let (reply, answer) = sync_channel(1);
        self.queue().push(Request::Sweep { reply })?;
        answer.recv().unwrap_or_else(|_| Err(closed()))
    }

    fn catalog(&self) -> &Catalog {
        &self.inner.catalog
    }

    fn coordinator(&self) -> &Coordinator {
        &self.inner.coordinator
    }

    fn queue(&self) -> &Queue {
        &self.inner.queue
    }

    fn cursor(&self, signal: &Arc<Signal>) -> Cursor {
        Cursor::new(self.inner.storage.clone(), self.inner.catalog.clone(), signal.clone())
    }

    /// Finds a record's partition, and refuses what cannot be written.
    fn place(&self, record: NewRecord) -> Result<Placed, LogError> {
        let topic = self.catalog().get(&record.topic)?;
        let (size, limit) = (record.size(), self.inner.record_bytes);
        if size > limit {
            return Err(LogError::TooLarge { size, limit });
        }
        if topic.cleanup == Cleanup::Compact {
            let name = &topic.name;
            let key = record.key.as_ref();
            let key = key.ok_or_else(|| LogError::Invalid(format!("a record of compacted `{name}` has no key")))?;
            if key.len() > COMPACTED_KEY_BYTES {
                return Err(LogError::TooLarge { size: key.len(), limit: COMPACTED_KEY_BYTES });
            }
        }
        let partition = topic.place(record.partition, record.key.as_deref())?;
        Ok(Placed { topic, partition, record })
    }

    fn place_offsets(&self, group: &str, offsets: &[NextOffset]) -> Result<Vec<PlacedOffset>, LogError> {
        offsets
            .iter()
            .map(|offset| {
                let topic = self.catalog().get_partition(&offset.at)?;
                let key = keys::group_offset(group, topic.number, offset.at.partition);
                Ok(PlacedOffset { key, next: offset.next, metadata: offset.metadata.clone() })
            })
            .collect()
    }

    /// Waits until everything asked of the writer before is done.
    fn barrier(&self, timeout: Duration) -> Result<(), LogError> {
        let (reply, answer) = sync_channel(1);
        self.queue().push(Request::Barrier { reply })?;
        wait(&answer, timeout)
    }

    /// What a group has committed, with every commit that was admitted before this call.
    fn committed_by(&self, group: &str, of: &[TopicPartition], timeout: Duration) -> Result<Vec<Committed>, LogError> {
        self.barrier(timeout)?;
        of.iter()
            .map(|at| {
                let topic = self.catalog().get_partition(at)?;
                let key = keys::group_offset(group, topic.number, at.partition);
                let Some(stored) = self.inner.storage.get(Space::Meta, &key)? else {
                    return Ok(Committed { at: at.clone(), next: None, metadata: String::new() });
                };
                let (next, metadata) = values::decode_offset(&stored)
                    .map_err(|damaged| LogError::Corrupt(format!("offset of `{group}` for {at}: {damaged}")))?;
                Ok(Committed { at: at.clone(), next: Some(next), metadata })
            })
            .collect()
    }
}

/// Checks the format of the store, and gives a new one its identity.
fn identify(storage: &dyn Storage) -> Result<ClusterId, LogError> {
    let format = storage.get(Space::Meta, keys::FORMAT_KEY)?;
    let cluster = storage.get(Space::Meta, keys::CLUSTER_KEY)?;
    match (format.as_deref(), cluster) {
        (Some([keys::FORMAT]), Some(cluster)) => String::from_utf8(cluster.to_vec())
            .map_err(|_| LogError::Corrupt("the identity of the log is not text".to_owned())),
        (None, None) => {
            let cluster = uuid::Uuid::now_v7().to_string();
            let set = |key, value| Change { space: Space::Meta, key: Bytes::from_static(key), value: Some(value) };
            storage.apply(vec![
                set(keys::FORMAT_KEY, Bytes::from_static(&[keys::FORMAT])),
                set(keys::CLUSTER_KEY, Bytes::from(cluster.clone())),
            ])?;
            Ok(cluster)
        }
        (Some([format]), _) if *format != keys::FORMAT => Err(LogError::Corrupt(format!(
            "the log was written in format {format}; this version reads {}",
            keys::FORMAT
        ))),
        _ => Err(LogError::Corrupt("the identity of the log is missing".to_owned())),
    }
}

fn wait<T>(answer: &Receiver<T>, timeout: Duration) -> Result<T, LogError> {
    answer.recv_timeout(timeout).map_err(|error| match error {
        RecvTimeoutError::Timeout => LogError::Unavailable("the log is busy writing".to_owned()),
        RecvTimeoutError::Disconnected => closed(),
    })
}

impl Log for EmbeddedLog {
    fn publisher(&self) -> Result<Arc<dyn Publisher>, LogError> {
        Ok(Arc::new(EmbeddedPublisher { log: self.clone() }))
    }

    fn transactor(&self, transactional_id: &str) -> Result<Box<dyn Transactor>, LogError> {
        let current = self.inner.turns.lock().entry(transactional_id.to_owned()).or_default().clone();
        Ok(Box::new(EmbeddedTransactor::new(self.clone(), current)))
    }

    fn subscribe(&self, options: SubscribeOptions) -> Result<Box<dyn Subscription>, LogError> {
        Ok(Box::new(EmbeddedSubscription::join(self.clone(), options)?))
    }

    fn reader(&self, _isolation: Isolation) -> Result<Box<dyn Reader>, LogError> {
        Ok(Box::new(EmbeddedReader::new(self.clone())))
    }

    fn end_offset(&self, at: &TopicPartition, _isolation: Isolation, _timeout: Duration) -> Result<i64, LogError> {
        Ok(self.catalog().get(&at.topic)?.partition(at.partition)?.state().end)
    }

    fn start_offset(&self, at: &TopicPartition, _timeout: Duration) -> Result<i64, LogError> {
        Ok(self.catalog().get(&at.topic)?.partition(at.partition)?.state().start)
    }

    fn offset_for_time(&self, at: &TopicPartition, timestamp_ms: i64, timeout: Duration) -> Result<i64, LogError> {
        let deadline = Instant::now() + timeout;
        let topic = self.catalog().get(&at.topic)?;
        let partition = topic.partition(at.partition)?;
        let state = partition.state();
        let from = keys::record(topic.number, at.partition, state.start.max(partition.floor()));
        let to = keys::record(topic.number, at.partition, state.end);
        let mut found = Ok(state.end);
        let mut scanned = 0_u32;
        // Timestamps are the senders' and in no order: the first match is found by looking at each.
        self.inner.storage.scan(Space::Records, &from, &to, &mut |key, value| {
            scanned += 1;
            if scanned.is_multiple_of(1024) && Instant::now() >= deadline {
                found = Err(LogError::Unavailable(format!("looking up a time in {at} took too long")));
                return ControlFlow::Break(());
            }
            match (values::record_times(value), keys::offset_of(key)) {
                (Ok(times), Some(offset)) if times.timestamp_ms >= timestamp_ms => {
                    found = Ok(offset);
                    ControlFlow::Break(())
                }
                (Ok(_), Some(_)) => ControlFlow::Continue(()),
                _ => {
                    found = Err(LogError::Corrupt(format!("{at} has a record that cannot be read")));
                    ControlFlow::Break(())
                }
            }
        })?;
        found
    }

    fn topics(&self, names: Option<&[&str]>, _timeout: Duration) -> Result<Vec<TopicInfo>, LogError> {
        let topics = match names {
            None => self.catalog().all(),
            Some(names) => names.iter().filter_map(|name| self.catalog().find(name)).collect(),
        };
        Ok(topics
            .iter()
            .map(|topic| TopicInfo { name: topic.name.to_string(), partitions: topic.partition_count() })
            .collect())
    }

    fn create_topics(&self, specs: &[TopicSpec], timeout: Duration) -> Result<Vec<(String, TopicOutcome)>, LogError> {
        for spec in specs {
            if spec.name.is_empty() || spec.name.len() > 249 {
                return Err(LogError::Invalid(format!("`{}` is no name for a topic (1 to 249 bytes)", spec.name)));
            }
            if !(1..=10_000).contains(&spec.partitions) {
                return Err(LogError::Invalid(format!(
                    "topic `{}` cannot have {} partitions",
                    spec.name, spec.partitions
                )));
            }
        }
        let (reply, answer) = sync_channel(1);
        self.queue().push(Request::Create { specs: specs.to_vec(), reply })?;
        wait(&answer, timeout)?
    }

    fn committed(&self, group: &str, of: &[TopicPartition], timeout: Duration) -> Result<Vec<Committed>, LogError> {
        self.committed_by(group, of, timeout)
    }

    fn cluster_id(&self, _timeout: Duration) -> Result<ClusterId, LogError> {
        Ok(self.inner.cluster_id.clone())
    }

    fn topic_id(&self, topic: &str, _timeout: Duration) -> Result<String, LogError> {
        Ok(self.catalog().get(topic)?.id.clone())
    }

    fn retention(&self, topic: &str, _timeout: Duration) -> Result<Option<Duration>, LogError> {
        Ok(self.catalog().get(topic)?.retention_ms().map(Duration::from_millis))
    }
}
