//! A transactional producer.

use std::time::Duration;

use rand::Rng as _;

use super::{
    Call,
    broker::{Broker, Fault},
    client::SimulatedLog,
    group::Proof,
};
use crate::log::{GroupMetadata, NewRecord, NextOffset, TransactionError, Transactor, Verdict};

pub(super) struct SimulatedTransactor {
    log: SimulatedLog,
    id: String,
    epoch: Option<u64>,
    open: bool,
    /// Not sent yet.
    queued: Vec<NewRecord>,
    /// What the delivery of a record came to.
    failure: Option<TransactionError>,
    /// It is committed, and the caller was not told.
    done: bool,
}

impl SimulatedTransactor {
    pub fn new(log: SimulatedLog, id: &str) -> Self {
        Self { log, id: id.to_owned(), epoch: None, open: false, queued: Vec::new(), failure: None, done: false }
    }

    fn fault(&self, of: &[Fault]) -> Option<Fault> {
        self.log.broker.lock().take_fault(self.log.client, of)
    }

    /// Sends what is queued; a failure shows at the commit.
    fn send(&mut self) {
        let epoch = self.epoch.unwrap_or_default();
        let (id, queued) = (&self.id, std::mem::take(&mut self.queued));
        let sent = self.log.broker.change(|broker| {
            for record in queued {
                let transaction = broker.transaction_of(id, epoch)?;
                broker.append(Some(transaction), record);
            }
            Ok(())
        });
        if let Err(error) = sent {
            self.failure.get_or_insert(error);
        }
    }

    /// Ends the open transaction on the broker.
    fn end(&self, commit: bool) -> Result<(), TransactionError> {
        let epoch = self.epoch.unwrap_or_default();
        self.log.broker.change(|broker: &mut Broker| {
            let transaction = broker.transaction_of(&self.id, epoch)?;
            broker.decide(transaction, commit);
            if broker.random.random_bool(0.7) {
                broker.complete(transaction);
            }
            Ok(())
        })
    }

    fn close(&mut self) {
        self.open = false;
        self.done = false;
        self.failure = None;
        self.queued.clear();
    }
}

fn error(verdict: Verdict, message: &str) -> TransactionError {
    TransactionError::new(verdict, message)
}

impl Transactor for SimulatedTransactor {
    fn init(&mut self, _timeout: Duration) -> Result<(), TransactionError> {
        (self.log.on_call)(Call::Transaction);
        if self.fault(&[Fault::InitRetry]).is_some() {
            return Err(error(Verdict::Retry, "the coordinator is moving"));
        }
        self.epoch = Some(self.log.broker.change(|broker| broker.init(&self.id)));
        self.close();
        Ok(())
    }

    fn begin(&mut self) -> Result<(), TransactionError> {
        (self.log.on_call)(Call::Transaction);
        if self.epoch.is_none() || self.open {
            return Err(error(Verdict::Fatal, "begun before `init`, or twice"));
        }
        self.open = true;
        Ok(())
    }

    fn produce(&mut self, record: &NewRecord) -> Result<(), TransactionError> {
        (self.log.on_call)(Call::Transaction);
        if !self.open {
            return Err(error(Verdict::Fatal, "no transaction is open"));
        }
        match self.fault(&[Fault::ProduceRetry, Fault::ProduceRefused]) {
            Some(Fault::ProduceRetry) => return Err(error(Verdict::Retry, "the queue is full")),
            Some(_) => return Err(error(Verdict::RollBack, "the record was refused")),
            None => {}
        }
        self.queued.push(record.clone());
        if self.log.broker.lock().random.random_bool(0.5) {
            self.send();
        }
        Ok(())
    }

    fn commit(
        &mut self,
        offsets: &[NextOffset],
        group: &GroupMetadata,
        _timeout: Duration,
    ) -> Result<(), TransactionError> {
        (self.log.on_call)(Call::Transaction);
        if self.done {
            self.close();
            return Ok(());
        }
        if !self.open {
            return Err(error(Verdict::Fatal, "no transaction is open"));
        }
        let fault = self.fault(&[
            Fault::CommitRetry,
            Fault::CommitDoneRetry,
            Fault::CommitRolledBack,
            Fault::CommitUnknownLost,
            Fault::CommitUnknownDone,
            Fault::CommitTimedOut,
        ]);
        if fault == Some(Fault::CommitRetry) {
            return Err(error(Verdict::Retry, "the coordinator is moving"));
        }
        self.send();
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        if fault == Some(Fault::CommitRolledBack) {
            return Err(error(Verdict::RollBack, "a record was not delivered"));
        }
        let proof = group.0.downcast_ref::<Proof>().cloned().ok_or_else(|| error(Verdict::Fatal, "a foreign proof"))?;
        let epoch = self.epoch.unwrap_or_default();
        self.log.broker.change(|broker| {
            broker.groups.entry(proof.group.clone()).or_default().check(&proof)?;
            let transaction = broker.transaction_of(&self.id, epoch)?;
            broker.add_offsets(transaction, &proof.group, offsets);
            if fault == Some(Fault::CommitTimedOut) {
                broker.time_out(transaction);
            }
            Ok::<(), TransactionError>(())
        })?;
        // Between the offsets and the end of the transaction.
        (self.log.on_call)(Call::Transaction);
        if fault == Some(Fault::CommitUnknownLost) {
            return Err(error(Verdict::Indeterminate, "no answer"));
        }
        self.end(true)?;
        // Between the end of the transaction and the answer.
        (self.log.on_call)(Call::Transaction);
        match fault {
            Some(Fault::CommitDoneRetry) => {
                self.done = true;
                Err(error(Verdict::Retry, "no answer"))
            }
            Some(Fault::CommitUnknownDone) => Err(error(Verdict::Indeterminate, "no answer")),
            _ => {
                self.close();
                Ok(())
            }
        }
    }

    fn abort(&mut self, _timeout: Duration) -> Result<(), TransactionError> {
        (self.log.on_call)(Call::Transaction);
        self.close();
        if self.fault(&[Fault::AbortUnknown]).is_some() {
            return Err(error(Verdict::Indeterminate, "no answer"));
        }
        self.end(false)
    }
}
