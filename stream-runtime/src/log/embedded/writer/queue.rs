//! Requests on their way to the writer, bounded by bytes.

use std::{collections::VecDeque, time::Instant};

use parking_lot::{Condvar, Mutex};

use super::request::Request;
use crate::log::LogError;

/// Bytes of records written in one batch: enough to share a sync among many, small enough to end soon.
const BATCH_BYTES: usize = 8 * 1024 * 1024;

pub(in crate::log::embedded) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    limit_bytes: usize,
}

#[derive(Default)]
struct State {
    requests: VecDeque<Request>,
    bytes: usize,
    closed: bool,
}

impl Queue {
    pub fn new(limit_bytes: usize) -> Self {
        Self { state: Mutex::default(), filled: Condvar::new(), limit_bytes }
    }

    /// Queues a request unless the queue is full.
    pub fn offer(&self, request: Request) -> Result<(), LogError> {
        self.add(request, self.limit_bytes)
    }

    /// Queues a request whose number is bounded by the number of its callers, which wait for the answer.
    pub fn push(&self, request: Request) -> Result<(), LogError> {
        self.add(request, usize::MAX)
    }

    fn add(&self, request: Request, limit: usize) -> Result<(), LogError> {
        let size = request.size();
        let mut state = self.state.lock();
        if state.closed {
            return Err(closed());
        }
        if !state.requests.is_empty() && state.bytes.saturating_add(size) > limit {
            return Err(LogError::QueueFull);
        }
        state.bytes += size;
        state.requests.push_back(request);
        if state.requests.len() == 1 {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// The next requests, in order. Empty when none came before `deadline`; `None` when the queue was closed and
    /// is empty.
    pub fn take(&self, deadline: Instant) -> Option<Vec<Request>> {
        let mut state = self.state.lock();
        while state.requests.is_empty() {
            if state.closed {
                return None;
            }
            if self.filled.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some(request) = state.requests.front() {
            let size = request.size();
            if bytes + size > BATCH_BYTES && !taken.is_empty() {
                break;
            }
            bytes += size;
            taken.extend(state.requests.pop_front());
        }
        state.bytes -= bytes;
        Some(taken)
    }

    /// Takes no more requests; what is queued is still done.
    pub fn close(&self) {
        self.state.lock().closed = true;
        self.filled.notify_all();
    }

    /// Takes no more requests and drops what is queued, which fails it.
    pub fn abandon(&self) {
        self.close();
        let dropped = std::mem::take(&mut self.state.lock().requests);
        drop(dropped);
    }
}

/// What callers get once the writer is gone.
pub(in crate::log::embedded) fn closed() -> LogError {
    LogError::Fatal("the embedded log is closed".to_owned())
}
