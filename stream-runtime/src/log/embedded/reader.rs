//! Reading outside groups.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{EmbeddedLog, cursor::Cursor, signal::Signal};
use crate::log::{LogError, Position, Reader, RecordRef, TopicPartition};

pub(super) struct EmbeddedReader {
    cursor: Cursor,
    signal: Arc<Signal>,
    /// Positions are told from the first poll on.
    polled: bool,
    /// Keeps the log open.
    _log: EmbeddedLog,
}

impl EmbeddedReader {
    pub fn new(log: EmbeddedLog) -> Self {
        let signal = Arc::new(Signal::default());
        Self { cursor: log.cursor(&signal), signal, polled: false, _log: log }
    }
}

impl Reader for EmbeddedReader {
    fn assign(&mut self, from: &[(TopicPartition, Position)]) -> Result<(), LogError> {
        self.polled = false;
        self.cursor.assign(from)
    }

    fn poll(
        &mut self,
        max: usize,
        timeout: Duration,
        visit: &mut dyn FnMut(&RecordRef<'_>),
    ) -> Result<usize, LogError> {
        let deadline = Instant::now() + timeout;
        self.polled = true;
        loop {
            self.signal.lower();
            let visited = self.cursor.visit(max, visit)?;
            if visited > 0 || !self.signal.wait_until(deadline) {
                return Ok(visited);
            }
        }
    }

    fn position(&self, at: &TopicPartition) -> Option<i64> {
        self.cursor.position(at).filter(|_| self.polled)
    }
}
