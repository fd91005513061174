//! Questions to a group's coordinator.

use std::{
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    TopicPartitionList,
    consumer::{Consumer, ConsumerContext},
    error::RDKafkaErrorCode as Code,
};

use super::{
    error::classify,
    record::{from_committed, list},
};
use crate::log::{Committed, LogError, TopicPartition};

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// The cluster is still deciding who the coordinator is, or that one is still loading. librdkafka passes this on
/// at once where it could wait.
fn is_settling(code: Code) -> bool {
    matches!(code, Code::NotCoordinator | Code::CoordinatorNotAvailable | Code::CoordinatorLoadInProgress)
}

/// What the client's group has committed. Waits for offsets of open transactions, and while the coordinator is
/// being found.
pub(super) fn committed<C: ConsumerContext>(
    client: &impl Consumer<C>,
    of: &[TopicPartition],
    doing: &str,
    timeout: Duration,
) -> Result<Vec<Committed>, LogError> {
    if of.is_empty() {
        return Ok(Vec::new());
    }
    let deadline = Instant::now() + timeout;
    loop {
        let remaining = deadline.saturating_duration_since(Instant::now());
        let error = match client.committed_offsets(list(of), remaining) {
            Ok(found) => match settling_in(&found) {
                None => return from_committed(&found),
                Some(error) => error,
            },
            Err(error) => error,
        };
        let settling = error.rdkafka_error_code().is_some_and(is_settling);
        if !settling || remaining <= PAUSE {
            return Err(classify(&error, doing, None));
        }
        thread::sleep(PAUSE);
    }
}

fn settling_in(found: &TopicPartitionList) -> Option<rdkafka::error::KafkaError> {
    found
        .elements()
        .iter()
        .filter_map(|element| element.error().err())
        .find(|error| error.rdkafka_error_code().is_some_and(is_settling))
}
