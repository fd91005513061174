//! What can be set on the embedded log besides its folder.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

/// Milliseconds since the epoch.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Settings of a log; [`Options::default`] keeps everything and runs on the system's clock.
#[derive(Clone)]
pub struct Options {
    /// Gives records without a timestamp theirs, and decides what is too old.
    pub clock: Clock,
    /// Bytes kept per partition of a `delete` topic.
    pub retention_bytes: u64,
    /// Bytes of records that may wait to be written before publishing answers
    /// [`LogError::QueueFull`](crate::log::LogError::QueueFull).
    pub queue_bytes: usize,
    /// The largest record taken: key, value and headers (Kafka: `message.max.bytes`).
    pub record_bytes: usize,
    /// Records kept in memory before they are written as a table; on disk only. They are in the journal all the
    /// while.
    pub write_buffer_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            clock: Arc::new(system_clock),
            retention_bytes: u64::MAX,
            queue_bytes: 32 * 1024 * 1024,
            record_bytes: 1024 * 1024,
            write_buffer_bytes: 16 * 1024 * 1024,
        }
    }
}

fn system_clock() -> i64 {
    // A clock before 1970 is a broken clock; 0 keeps the log going.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
