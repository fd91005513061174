//! What callers ask of the writer.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
    mpsc::SyncSender,
};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::super::{catalog::Topic, group::Proof};
use crate::log::{LogError, NewRecord, TopicOutcome, TopicSpec, TransactionError};

/// A record that knows its partition and was found fit to be written.
pub(in crate::log::embedded) struct Placed {
    pub topic: Arc<Topic>,
    pub partition: i32,
    pub record: NewRecord,
}

/// The next offset of a group for a partition, under its key.
pub(in crate::log::embedded) struct PlacedOffset {
    pub key: Bytes,
    pub next: i64,
    pub metadata: String,
}

/// The turn of a transactional producer: over as soon as another one took the same id.
#[derive(Clone)]
pub(in crate::log::embedded) struct Turn {
    pub current: Arc<AtomicU64>,
    pub ours: u64,
}

impl Turn {
    pub fn is_over(&self) -> bool {
        self.current.load(Ordering::Acquire) != self.ours
    }
}

/// What becomes visible together or not at all.
pub(in crate::log::embedded) struct Transaction {
    /// `None` outside transactional producers.
    pub turn: Option<Turn>,
    pub proof: Option<Proof>,
    pub records: Vec<Placed>,
    pub offsets: Vec<PlacedOffset>,
}

/// What a sweep took away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    pub records: u64,
    pub bytes: u64,
}

pub(in crate::log::embedded) type Published = Result<(i32, i64), LogError>;
pub(in crate::log::embedded) type Created = Result<Vec<(String, TopicOutcome)>, LogError>;

pub(in crate::log::embedded) enum Request {
    Publish {
        placed: Placed,
        reply: oneshot::Sender<Published>,
    },
    Commit {
        transaction: Transaction,
        reply: SyncSender<Result<(), TransactionError>>,
    },
    /// Ends every earlier turn; answered when what they committed is durable.
    Fence {
        current: Arc<AtomicU64>,
        reply: SyncSender<u64>,
    },
    /// Answered when everything asked before is done.
    Barrier {
        reply: SyncSender<()>,
    },
    Create {
        specs: Vec<TopicSpec>,
        reply: SyncSender<Created>,
    },
    Sweep {
        reply: SyncSender<Result<Swept, LogError>>,
    },
}

impl Request {
    /// Bytes that count against the queue's limit.
    pub fn size(&self) -> usize {
        const OVERHEAD: usize = 64;
        let records = match self {
            Self::Publish { placed, .. } => placed.record.size(),
            Self::Commit { transaction, .. } => transaction.records.iter().map(|placed| placed.record.size()).sum(),
            _ => 0,
        };
        records + OVERHEAD
    }
}
