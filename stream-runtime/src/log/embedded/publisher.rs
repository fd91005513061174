//! Publishing outside transactions.

use std::{
    sync::mpsc::{RecvTimeoutError, sync_channel},
    time::Duration,
};

use tokio::sync::oneshot;

use super::{
    EmbeddedLog,
    writer::{Request, closed},
};
use crate::log::{Delivery, LogError, NewRecord, Publisher};

pub(super) struct EmbeddedPublisher {
    pub log: EmbeddedLog,
}

impl Publisher for EmbeddedPublisher {
    fn publish(&self, record: NewRecord) -> Result<Delivery, LogError> {
        let placed = self.log.place(record)?;
        let (reply, answer) = oneshot::channel();
        self.log.queue().offer(Request::Publish { placed, reply })?;
        Ok(Box::pin(async move { answer.await.unwrap_or_else(|_| Err(closed())) }))
    }

    fn flush(&self, timeout: Duration) -> Result<(), LogError> {
        let (reply, answer) = sync_channel(1);
        self.log.queue().push(Request::Barrier { reply })?;
        answer.recv_timeout(timeout).map_err(|error| match error {
            RecvTimeoutError::Timeout => LogError::Unavailable("records are still being written".to_owned()),
            RecvTimeoutError::Disconnected => closed(),
        })
    }
}
