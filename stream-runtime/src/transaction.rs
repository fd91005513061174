//! One producer's transactions with the verdicts carried out: what is tried again, what is rolled back, what needs a
//! new producer, and what ends the process. Shared by [`crate::keyed`] and [`crate::transform`].

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use prometheus::IntCounterVec;

use crate::log::{
    GroupMetadata, Log, NewRecord, NextOffset, Polled, Subscription, TransactionError, Transactor, Verdict,
};

/// How long one try of a call may hold up the caller: then it is looked whether the assignment is still ours. A member
/// whose session is over has to let go before its coordinator is back, or librdkafka goes on with a heartbeat without a
/// member id, which the coordinator takes for another process.
const SLICE: Duration = Duration::from_secs(2);
/// Between two tries of the same call: doubles from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LAST_PAUSE: Duration = Duration::from_millis(500);

/// Waits a little longer each time.
#[derive(Debug, Clone, Copy)]
struct Pauses(Duration);

impl Pauses {
    fn new() -> Self {
        Self(FIRST_PAUSE)
    }

    fn wait(self) -> Self {
        std::thread::sleep(self.0);
        Self((self.0 * 2).min(LAST_PAUSE))
    }
}

/// Why a transaction did not end in a commit.
#[derive(Debug, Clone, thiserror::Error)]
#[error("transaction was not committed ({}): {message}", verdict.as_str())]
pub(crate) struct Setback {
    pub verdict: Verdict,
    message: String,
}

impl Setback {
    pub fn new(verdict: Verdict, message: impl Into<String>) -> Self {
        Self { verdict, message: message.into() }
    }
}

impl From<TransactionError> for Setback {
    fn from(error: TransactionError) -> Self {
        Self { verdict: error.verdict, message: error.message }
    }
}

/// Where a worker stands after a setback was dealt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recovery {
    /// Certainly not committed: go back to what was committed last.
    RolledBack,
    /// The same, and the group has moved on: wait for the rebalance.
    Stale,
    /// A new producer is needed: make it ready, then ask what was committed and restore the state.
    Renew,
}

/// Name and limits of a [`TransactionalWriter`].
#[derive(Debug, Clone)]
pub(crate) struct WriterOptions {
    pub transactional_id: String,
    /// Bound of one call.
    pub call_timeout: Duration,
    /// Bound of all tries of one call.
    pub retry_timeout: Duration,
}

/// A transactional producer that outlives its instances.
pub(crate) struct TransactionalWriter {
    log: Arc<dyn Log>,
    options: WriterOptions,
    /// Counts setbacks by class.
    aborts: IntCounterVec,
    transactor: Option<Box<dyn Transactor>>,
    /// One that is not ready yet.
    joining: Option<Box<dyn Transactor>>,
    /// Since becoming ready failed last.
    paused: Option<Pauses>,
    open: bool,
    /// Since the last commit.
    fenced: u32,
}

impl TransactionalWriter {
    pub fn new(log: Arc<dyn Log>, options: WriterOptions, aborts: IntCounterVec) -> Self {
        Self { log, options, aborts, transactor: None, joining: None, paused: None, open: false, fenced: 0 }
    }

    /// Makes the producer ready, unless it is: ends what a predecessor left open and fences it. False when the log did
    /// not let it happen within a moment: to be called again, between polls.
    pub fn try_ready(&mut self) -> anyhow::Result<bool> {
        if self.transactor.is_some() {
            return Ok(true);
        }
        let Err(setback) = self.connect() else { return Ok(true) };
        match setback.verdict {
            Verdict::Replaced | Verdict::Fatal => Err(self.fatal(setback)),
            verdict => {
                let pause = self.paused.unwrap_or_else(Pauses::new);
                tracing::warn!(id = self.options.transactional_id, error = %setback, "no producer yet");
                // A call that ran out of time goes on where it was; anything else begins anew.
                if verdict != Verdict::Retry {
                    self.joining = None;
                    self.paused = Some(pause.wait());
                }
                Ok(false)
            }
        }
    }

    fn connect(&mut self) -> Result<(), Setback> {
        let mut transactor = match self.joining.take() {
            Some(transactor) => transactor,
            None => self.log.transactor(&self.options.transactional_id).map_err(|error| {
                let verdict = if error.is_retriable() { Verdict::Retry } else { Verdict::Fatal };
                Setback::new(verdict, error.to_string())
            })?,
        };
        let joined = transactor.init(SLICE.min(self.options.call_timeout));
        match joined {
            Ok(()) => {
                self.transactor = Some(transactor);
                self.open = false;
                self.paused = None;
            }
            Err(_) => self.joining = Some(transactor),
        }
        Ok(joined?)
    }

    pub fn begin(&mut self) -> Result<(), Setback> {
        self.retrying(Verdict::RollBack, &|| false, |transactor, _| transactor.begin())?;
        self.open = true;
        Ok(())
    }

    pub fn produce(&mut self, record: &NewRecord) -> Result<(), Setback> {
        // The common case without the bookkeeping of a retry.
        let Some(transactor) = self.transactor.as_mut() else { return Err(not_ready()) };
        match transactor.produce(record) {
            Err(error) if error.verdict == Verdict::Retry => {
                self.retrying(Verdict::RollBack, &|| false, |transactor, _| transactor.produce(record))
            }
            other => other.map_err(Setback::from),
        }
    }

    /// Commits outputs and offsets as one. Only `Ok` means committed. Gives up when the assignment `is_lost`.
    pub fn commit(
        &mut self,
        offsets: &[NextOffset],
        group: &GroupMetadata,
        is_lost: &dyn Fn() -> bool,
    ) -> Result<(), Setback> {
        self.retrying(Verdict::Indeterminate, is_lost, |transactor, timeout| {
            transactor.commit(offsets, group, timeout)
        })?;
        self.open = false;
        self.fenced = 0;
        Ok(())
    }

    /// Calls again with the same arguments while the verdict is to retry; `exhausted` is the verdict after that.
    fn retrying(
        &mut self,
        exhausted: Verdict,
        is_lost: &dyn Fn() -> bool,
        mut call: impl FnMut(&mut dyn Transactor, Duration) -> Result<(), TransactionError>,
    ) -> Result<(), Setback> {
        let Some(transactor) = self.transactor.as_mut() else { return Err(not_ready()) };
        let deadline = Instant::now() + self.options.retry_timeout;
        let mut pauses = Pauses::new();
        loop {
            match call(transactor.as_mut(), SLICE.min(self.options.call_timeout)) {
                Ok(()) => return Ok(()),
                Err(error) if error.verdict == Verdict::Retry => {
                    if Instant::now() >= deadline || is_lost() {
                        return Err(Setback::new(exhausted, error.message));
                    }
                    tracing::debug!(id = self.options.transactional_id, error = error.message, "trying again");
                    pauses = pauses.wait();
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Carries out a verdict. An error ends the process.
    pub fn recover(&mut self, setback: Setback, is_lost: &dyn Fn() -> bool) -> anyhow::Result<Recovery> {
        self.aborts.with_label_values(&[setback.verdict.as_str()]).inc();
        tracing::warn!(id = self.options.transactional_id, error = %setback, "recovering");
        match setback.verdict {
            Verdict::Replaced | Verdict::Fatal => Err(self.fatal(setback)),
            Verdict::RollBack | Verdict::Stale => {
                if let Err(failed) = self.abort(is_lost) {
                    if matches!(failed.verdict, Verdict::Replaced | Verdict::Fatal) {
                        return Err(self.fatal(failed));
                    }
                    return self.renew(failed);
                }
                Ok(if setback.verdict == Verdict::Stale { Recovery::Stale } else { Recovery::RolledBack })
            }
            Verdict::Retry | Verdict::Indeterminate | Verdict::Fenced => self.renew(setback),
        }
    }

    /// Rolls back what is open, if anything is.
    fn abort(&mut self, is_lost: &dyn Fn() -> bool) -> Result<(), Setback> {
        if self.open {
            self.retrying(Verdict::Indeterminate, is_lost, |transactor, timeout| transactor.abort(timeout))?;
            self.open = false;
        }
        Ok(())
    }

    fn renew(&mut self, setback: Setback) -> anyhow::Result<Recovery> {
        if setback.verdict == Verdict::Fenced {
            self.fenced += 1;
            if self.fenced > 1 {
                return Err(anyhow::Error::new(setback).context(format!(
                    "`{}` was fenced twice without a commit in between; is another process running as the same ordinal?",
                    self.options.transactional_id
                )));
            }
        }
        self.transactor = None;
        self.joining = None;
        self.open = false;
        Ok(Recovery::Renew)
    }

    fn fatal(&self, setback: Setback) -> anyhow::Error {
        let id = &self.options.transactional_id;
        let context = if setback.verdict == Verdict::Replaced {
            format!("another process runs as `{id}`; give each process an ordinal of its own")
        } else {
            format!("transactions as `{id}` cannot go on")
        };
        anyhow::Error::new(setback).context(context)
    }
}

fn not_ready() -> Setback {
    Setback::new(Verdict::Indeterminate, "the producer was not made ready")
}

/// Turns a consumer's error into what ends the process, naming the member when another one took its place.
pub(crate) fn consumer_error(member: &str, error: crate::log::LogError) -> anyhow::Error {
    let context = match &error {
        crate::log::LogError::Replaced(_) => {
            format!("another process runs as `{member}`; give each process an ordinal of its own")
        }
        _ => format!("consumer `{member}` cannot go on"),
    };
    anyhow::Error::new(error).context(context)
}

/// Lets the consumer tell what happened to the membership. Records it hands out meanwhile are read again.
pub(crate) fn membership_event(subscription: &mut dyn Subscription, member: &str) -> anyhow::Result<Option<Polled>> {
    match subscription.poll(1, Duration::ZERO, &mut |_| {}) {
        Ok(Polled::Records(_)) => Ok(None),
        Ok(event) => Ok(Some(event)),
        Err(error) if error.is_retriable() => Ok(None),
        Err(error) => Err(consumer_error(member, error)),
    }
}

/// Tries a call to the log again while it is not available, at most for `timeout`.
pub(crate) fn while_unavailable<T>(
    timeout: Duration,
    mut call: impl FnMut() -> Result<T, crate::log::LogError>,
) -> Result<T, crate::log::LogError> {
    let deadline = Instant::now() + timeout;
    let mut pauses = Pauses::new();
    loop {
        match call() {
            Err(error) if error.is_retriable() && Instant::now() < deadline => {
                tracing::debug!(%error, "trying again");
                pauses = pauses.wait();
            }
            other => return other,
        }
    }
}
