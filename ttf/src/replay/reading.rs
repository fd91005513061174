//! Reads ranges of partitions to their end.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use stream_runtime::log::{Isolation, Position, Reader, RecordRef};

use super::{gather::Sources, progress::Progress, window::Range};

const POLL: Duration = Duration::from_millis(20);
const POLL_RECORDS: usize = 5_000;
/// A partition that brings nothing for so long is given up.
const STALL: Duration = Duration::from_secs(60);

pub type Readers = HashMap<Arc<str>, Box<dyn Reader>>;

/// Reads ranges one after the other.
pub struct Reading<'a> {
    pub sources: &'a Sources,
    /// By topic: a client that knows its topic is worth keeping.
    pub readers: Readers,
    pub progress: &'a mut Progress,
}

impl Reading<'_> {
    /// Visits every committed record of a range; ends when all of it was read.
    pub fn read(
        &mut self,
        range: &Range,
        visit: &mut dyn FnMut(&RecordRef<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        if range.len() == 0 {
            return Ok(());
        }
        let reader = match self.readers.entry(range.at.topic.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(self.sources.log.reader(Isolation::ReadCommitted)?),
        };
        reader.assign(&[(range.at.clone(), Position::Offset(range.start))])?;
        let mut reached = range.start;
        let mut moved = Instant::now();
        while reached < range.end {
            if self.sources.stop.load(Ordering::Relaxed) {
                bail!("stopped");
            }
            let mut failure = None;
            let polled = reader.poll(POLL_RECORDS, POLL, &mut |record| {
                if failure.is_none() && record.offset < range.end {
                    failure = visit(record).err();
                }
            });
            if let Some(failure) = failure {
                return Err(failure);
            }
            match polled {
                Ok(_) => {}
                Err(error) if error.is_retriable() => tracing::debug!(%error, "replay waits for the log"),
                Err(error) => return Err(error).with_context(|| format!("cannot read {}", range.at)),
            }
            let position = reader.position(&range.at).unwrap_or(reached).min(range.end);
            if position > reached {
                self.progress.advance((position - reached).unsigned_abs());
                reached = position;
                moved = Instant::now();
            }
            if moved.elapsed() > STALL {
                bail!(
                    "{} has brought nothing for {} s at offset {reached} of {}",
                    range.at,
                    STALL.as_secs(),
                    range.end
                );
            }
        }
        Ok(())
    }
}
