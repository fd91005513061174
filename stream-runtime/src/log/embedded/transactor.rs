//! The transactional producer: collects in memory, commits as one batch.

use std::{
    sync::{
        Arc,
        atomic::AtomicU64,
        mpsc::{Receiver, RecvTimeoutError, sync_channel},
    },
    time::Duration,
};

use super::{
    EmbeddedLog,
    group::Proof,
    writer::{Placed, Request, Transaction, Turn, closed},
};
use crate::log::{GroupMetadata, LogError, NewRecord, NextOffset, TransactionError, Transactor, Verdict};

/// What one transaction may hold in memory.
const TRANSACTION_BYTES: usize = 256 * 1024 * 1024;

pub(super) struct EmbeddedTransactor {
    log: EmbeddedLog,
    current: Arc<AtomicU64>,
    stage: Stage,
}

enum Stage {
    /// `init` was not called yet.
    New,
    Idle(Turn),
    Open {
        turn: Turn,
        records: Vec<Placed>,
        bytes: usize,
    },
    /// Handed to the writer; the answer has not come yet.
    Committing {
        turn: Turn,
        answer: Receiver<Result<(), TransactionError>>,
    },
}

impl EmbeddedTransactor {
    /// `current` is shared by all producers with the same id.
    pub fn new(log: EmbeddedLog, current: Arc<AtomicU64>) -> Self {
        Self { log, current, stage: Stage::New }
    }

    fn await_commit(&mut self, timeout: Duration) -> Result<(), TransactionError> {
        let Stage::Committing { turn, answer } = &self.stage else {
            return Err(misuse("no commit is under way"));
        };
        let answered = answer.recv_timeout(timeout);
        let turn = turn.clone();
        match answered {
            Ok(Ok(())) => {
                self.stage = Stage::Idle(turn);
                Ok(())
            }
            Ok(Err(refused)) => {
                // Nothing was written. The transaction stays open, empty, until it is aborted.
                self.stage = Stage::Open { turn, records: Vec::new(), bytes: 0 };
                Err(refused)
            }
            Err(RecvTimeoutError::Timeout) => {
                Err(TransactionError::new(Verdict::Retry, "the transaction is still being written"))
            }
            Err(RecvTimeoutError::Disconnected) => Err(TransactionError::new(Verdict::Fatal, closed().to_string())),
        }
    }
}

fn misuse(message: &str) -> TransactionError {
    TransactionError::new(Verdict::Fatal, message)
}

fn fenced() -> TransactionError {
    TransactionError::new(Verdict::Fenced, "another producer has this transactional id")
}

fn fatal(error: LogError) -> TransactionError {
    TransactionError::new(Verdict::Fatal, error.to_string())
}

impl Transactor for EmbeddedTransactor {
    fn init(&mut self, timeout: Duration) -> Result<(), TransactionError> {
        let (reply, answer) = sync_channel(1);
        self.log.queue().push(Request::Fence { current: self.current.clone(), reply }).map_err(fatal)?;
        match answer.recv_timeout(timeout) {
            Ok(ours) => {
                self.stage = Stage::Idle(Turn { current: self.current.clone(), ours });
                Ok(())
            }
            Err(RecvTimeoutError::Timeout) => Err(TransactionError::new(Verdict::Retry, "the log is busy writing")),
            Err(RecvTimeoutError::Disconnected) => Err(fatal(closed())),
        }
    }

    fn begin(&mut self) -> Result<(), TransactionError> {
        match &self.stage {
            Stage::Idle(turn) if turn.is_over() => Err(fenced()),
            Stage::Idle(turn) => {
                self.stage = Stage::Open { turn: turn.clone(), records: Vec::new(), bytes: 0 };
                Ok(())
            }
            Stage::New => Err(misuse("`init` comes before the first transaction")),
            Stage::Open { .. } | Stage::Committing { .. } => Err(misuse("a transaction is open already")),
        }
    }

    fn produce(&mut self, record: &NewRecord) -> Result<(), TransactionError> {
        let Stage::Open { turn, records, bytes } = &mut self.stage else {
            return Err(misuse("no transaction is open"));
        };
        if turn.is_over() {
            return Err(fenced());
        }
        *bytes += record.size();
        if *bytes > TRANSACTION_BYTES {
            return Err(fatal(LogError::TooLarge { size: *bytes, limit: TRANSACTION_BYTES }));
        }
        records.push(self.log.place(record.clone()).map_err(fatal)?);
        Ok(())
    }

    fn commit(
        &mut self,
        offsets: &[NextOffset],
        group: &GroupMetadata,
        timeout: Duration,
    ) -> Result<(), TransactionError> {
        match &mut self.stage {
            Stage::Committing { .. } => self.await_commit(timeout),
            Stage::Open { turn, records, .. } => {
                let proof = group
                    .0
                    .downcast_ref::<Proof>()
                    .ok_or_else(|| misuse("the group's proof is not of the embedded log"))?
                    .clone();
                let offsets = self.log.place_offsets(&proof.group, offsets).map_err(fatal)?;
                let transaction = Transaction {
                    turn: Some(turn.clone()),
                    proof: Some(proof),
                    records: std::mem::take(records),
                    offsets,
                };
                let (reply, answer) = sync_channel(1);
                self.log.queue().push(Request::Commit { transaction, reply }).map_err(fatal)?;
                self.stage = Stage::Committing { turn: turn.clone(), answer };
                self.await_commit(timeout)
            }
            Stage::New | Stage::Idle(_) => Err(misuse("no transaction is open")),
        }
    }

    fn abort(&mut self, timeout: Duration) -> Result<(), TransactionError> {
        if matches!(self.stage, Stage::Committing { .. }) {
            match self.await_commit(timeout) {
                Ok(()) => {
                    return Err(TransactionError::new(Verdict::Indeterminate, "the transaction was committed already"));
                }
                Err(error) if error.verdict == Verdict::Retry => return Err(error),
                Err(_) => {}
            }
        }
        let turn = match &self.stage {
            Stage::Open { turn, .. } | Stage::Idle(turn) | Stage::Committing { turn, .. } => turn.clone(),
            Stage::New => return Err(misuse("`init` comes before the first transaction")),
        };
        let over = turn.is_over();
        self.stage = Stage::Idle(turn);
        if over { Err(fenced()) } else { Ok(()) }
    }
}
