//! Closing consumers without waiting for ever.

use std::{sync::mpsc, thread, time::Duration};

use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use tracing::{debug, warn};

/// Drops a consumer on a thread of its own and waits for it at most `patience`: leaving a group waits for
/// answers that may not come.
pub(super) fn close<C: ConsumerContext + 'static>(consumer: BaseConsumer<C>, patience: Duration) {
    let (done, closed) = mpsc::channel();
    let spawned = thread::Builder::new().name("kafka-close".into()).spawn(move || {
        drop(consumer);
        // Nobody waits any more when this took longer than the patience.
        let _ = done.send(());
    });
    match spawned {
        // The closure, and the consumer with it, is dropped by then.
        Err(error) => warn!(%error, "no thread to close a Kafka consumer on; closed it here"),
        Ok(_) => {
            if closed.recv_timeout(patience).is_err() {
                warn!(?patience, "a Kafka consumer is still closing; going on without waiting for it");
            } else {
                debug!("closed a Kafka consumer");
            }
        }
    }
}
