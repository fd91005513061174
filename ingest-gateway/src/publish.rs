//! Puts records on the log and waits until each one is durable or the time is over.

use std::{pin::pin, sync::Arc, time::Duration};

use stream_runtime::log::{Delivery, LogError, NewRecord, Publisher};
use tokio::time::{Instant, sleep_until};

/// A record that is not known to be on the log; the sender is told to come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unacknowledged {
    /// Too much waits for the log already.
    Overloaded,
    /// The log is away or refused the record.
    Unavailable,
    /// No answer within the acknowledgement time-out; the record may be there all the same.
    TimedOut,
}

impl Unacknowledged {
    pub const fn code(self) -> &'static str {
        match self {
            Self::Overloaded => "overloaded",
            Self::Unavailable => "log_unavailable",
            Self::TimedOut => "ack_timeout",
        }
    }

    pub const fn message(self) -> &'static str {
        match self {
            Self::Overloaded => "too many events wait for the log; nothing was taken",
            Self::Unavailable => "the log did not take the event",
            Self::TimedOut => "the log did not acknowledge the event in time",
        }
    }
}

/// The way onto the log.
#[derive(Clone)]
pub struct Outlet {
    publisher: Arc<dyn Publisher>,
    ack_timeout: Duration,
}

impl Outlet {
    pub fn new(publisher: Arc<dyn Publisher>, ack_timeout: Duration) -> Self {
        Self { publisher, ack_timeout }
    }

    /// Publishes every record; the answer has the fate of each, in the same order. Records without an answer in time are
    /// still the log's: what `held` accounts for them is given back once it lets them go.
    pub async fn publish<H: Send + 'static>(
        &self,
        records: Vec<NewRecord>,
        held: H,
    ) -> Vec<Result<(), Unacknowledged>> {
        let deadline = Instant::now() + self.ack_timeout;
        let deliveries: Vec<Result<Delivery, LogError>> =
            records.into_iter().map(|record| self.publisher.publish(record)).collect();
        let mut fates = Vec::with_capacity(deliveries.len());
        let mut late = Vec::new();
        let mut over = pin!(sleep_until(deadline));
        // The last first: once it is there most others are, so that a batch is woken up for a few times, not for each record.
        for delivery in deliveries.into_iter().rev() {
            fates.push(match delivery {
                Ok(mut delivery) => tokio::select! {
                    // A delivery that ended in the meantime is seen even when the deadline has passed.
                    biased;
                    result = &mut delivery => result.map(drop).map_err(|error| refused(&error)),
                    () = &mut over => {
                        late.push(delivery);
                        Err(Unacknowledged::TimedOut)
                    }
                },
                Err(error) => Err(refused(&error)),
            });
        }
        fates.reverse();
        if !late.is_empty() {
            tokio::spawn(async move {
                futures::future::join_all(late).await;
                drop(held);
            });
        }
        fates
    }
}

fn refused(error: &LogError) -> Unacknowledged {
    match error {
        LogError::QueueFull => Unacknowledged::Overloaded,
        LogError::Unavailable(_) => Unacknowledged::Unavailable,
        error => {
            tracing::error!(%error, "the log refused a record");
            Unacknowledged::Unavailable
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::sync::oneshot;

    use super::*;

    /// Does with a record what its value says.
    struct ByValue;

    impl Publisher for ByValue {
        fn publish(&self, record: NewRecord) -> Result<Delivery, LogError> {
            let away = move || LogError::Unavailable("away".to_owned());
            match record.value.as_deref() {
                Some(b"full") => Err(LogError::QueueFull),
                Some(b"away") => Ok(Box::pin(std::future::ready(Err(away())))),
                Some(b"never") => Ok(Box::pin(std::future::pending())),
                Some(b"later") => {
                    let (sender, receiver) = oneshot::channel();
                    tokio::spawn(async { sender.send(()) });
                    Ok(Box::pin(async move { receiver.await.map(|()| (0, 0)).map_err(|_| away()) }))
                }
                _ => Ok(Box::pin(std::future::ready(Ok((0, 0))))),
            }
        }

        fn flush(&self, _: Duration) -> Result<(), LogError> {
            Ok(())
        }
    }

    async fn fates(values: &[&'static str], ack_timeout: Duration) -> Vec<Result<(), Unacknowledged>> {
        let records = values.iter().map(|value| NewRecord {
            topic: "t".into(),
            partition: None,
            key: None,
            value: Some(Bytes::from_static(value.as_bytes())),
            headers: Vec::new(),
            timestamp_ms: None,
        });
        Outlet::new(Arc::new(ByValue), ack_timeout).publish(records.collect(), ()).await
    }

    #[tokio::test]
    async fn every_record_has_its_own_fate_in_the_order_they_came() {
        use Unacknowledged::{Overloaded, TimedOut, Unavailable};
        let told = fates(&["", "full", "away", "later"], Duration::from_secs(60)).await;
        assert_eq!(told, [Ok(()), Err(Overloaded), Err(Unavailable), Ok(())]);
        let told = fates(&["later", "never", "", "never", "away"], Duration::from_millis(50)).await;
        assert_eq!(told, [Ok(()), Err(TimedOut), Ok(()), Err(TimedOut), Err(Unavailable)]);
    }
}
