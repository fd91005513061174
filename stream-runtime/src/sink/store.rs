//! The side of the store: one task owns the sink and does what the consumer's thread asks, one thing at a time.

use std::time::Duration;

use rand::Rng as _;
use service_kit::{CancellationToken, CheckHandle};
use tokio::sync::{mpsc, oneshot};

use super::{Sink, SinkError, metrics::Deliveries};
use crate::log::{NextOffset, Position, Record, TopicPartition};

/// First wait after a failure; doubles up to [`LONGEST_PAUSE`].
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

pub type Answer<T> = oneshot::Receiver<Result<T, Failure>>;

/// Why something asked of the sink was not done.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The partitions went away, or the process ends: it will be replayed.
    #[error("the batch was given up")]
    Abandoned,
    #[error(transparent)]
    Sink(SinkError),
}

/// Something the consumer's thread asks for. Unavailable stores are tried again until `cancel`.
pub enum Request {
    Claim {
        partitions: Vec<TopicPartition>,
        cancel: CancellationToken,
        reply: oneshot::Sender<Result<Vec<(TopicPartition, Position)>, Failure>>,
    },
    Write {
        batch: Vec<Record>,
        cancel: CancellationToken,
        reply: oneshot::Sender<Result<Vec<NextOffset>, Failure>>,
    },
    Tick {
        reply: oneshot::Sender<Result<Vec<NextOffset>, Failure>>,
    },
    Revoke {
        partitions: Vec<TopicPartition>,
        reply: oneshot::Sender<Result<(), Failure>>,
    },
}

/// The task that serves `sink`, and the way to ask it. The task ends after `shutdown`, when nobody can ask any more.
pub fn serve(
    sink: impl Sink,
    deliveries: Deliveries,
    health: CheckHandle,
    shutdown: CancellationToken,
) -> (impl Future<Output = anyhow::Result<()>> + Send + 'static, mpsc::Sender<Request>) {
    let (sender, mut requests) = mpsc::channel(1);
    let mut store = Store { sink, deliveries, health };
    let task = async move {
        while let Some(request) = requests.recv().await {
            store.answer(request).await;
        }
        // When the consumer's thread fails, its error is the one to be seen.
        shutdown.cancelled().await;
        Ok(())
    };
    (task, sender)
}

struct Store<S> {
    sink: S,
    deliveries: Deliveries,
    health: CheckHandle,
}

impl<S: Sink> Store<S> {
    /// An answer nobody waits for any more is dropped.
    async fn answer(&mut self, request: Request) {
        match request {
            Request::Claim { partitions, cancel, reply } => {
                let _ = reply.send(self.claim(&partitions, &cancel).await);
            }
            Request::Write { batch, cancel, reply } => {
                let _ = reply.send(self.write(&batch, &cancel).await);
            }
            Request::Tick { reply } => {
                let _ = reply.send(self.tick().await);
            }
            Request::Revoke { partitions, reply } => {
                self.sink.revoked(&partitions).await;
                let _ = reply.send(Ok(()));
            }
        }
    }

    async fn claim(
        &mut self,
        partitions: &[TopicPartition],
        cancel: &CancellationToken,
    ) -> Result<Vec<(TopicPartition, Position)>, Failure> {
        let mut backoff = Backoff::default();
        loop {
            match self.sink.assigned(partitions).await {
                Ok(positions) => {
                    self.health.healthy();
                    return Ok(positions);
                }
                Err(error @ SinkError::Fatal(_)) => return Err(Failure::Sink(error)),
                // Whoever moved the positions while they were claimed is asked again, too.
                Err(error) => self.wait(&error, &mut backoff, cancel).await?,
            }
        }
    }

    async fn write(&mut self, batch: &[Record], cancel: &CancellationToken) -> Result<Vec<NextOffset>, Failure> {
        let mut backoff = Backoff::default();
        loop {
            match self.sink.write(batch).await {
                Ok(durable) => {
                    self.deliveries.outcome("ok").inc();
                    self.health.healthy();
                    return Ok(durable);
                }
                Err(error @ SinkError::Unavailable(_)) => {
                    self.deliveries.outcome("unavailable").inc();
                    self.wait(&error, &mut backoff, cancel).await?;
                }
                Err(error) => {
                    let outcome = if matches!(error, SinkError::Moved(_)) { "moved" } else { "fatal" };
                    self.deliveries.outcome(outcome).inc();
                    return Err(Failure::Sink(error));
                }
            }
        }
    }

    /// Work by the clock that cannot be done now is due again at the next tick.
    async fn tick(&mut self) -> Result<Vec<NextOffset>, Failure> {
        match self.sink.tick().await {
            Err(SinkError::Unavailable(message)) => {
                self.health.degraded(message);
                Ok(Vec::new())
            }
            other => other.map_err(Failure::Sink),
        }
    }

    async fn wait(
        &mut self,
        error: &SinkError,
        backoff: &mut Backoff,
        cancel: &CancellationToken,
    ) -> Result<(), Failure> {
        self.health.degraded(error.to_string());
        let pause = backoff.next();
        tracing::debug!(%error, pause_ms = pause.as_millis(), "the sink is tried again");
        tokio::select! {
            () = tokio::time::sleep(pause) => Ok(()),
            () = cancel.cancelled() => Err(Failure::Abandoned),
        }
    }
}

/// Growing waits with jitter, so that many consumers do not come back at once.
struct Backoff {
    pause: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { pause: SHORTEST_PAUSE }
    }
}

impl Backoff {
    fn next(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        pause.mul_f64(rand::rng().random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_limit() {
        let mut backoff = Backoff::default();
        let first = backoff.next();
        assert!(first <= SHORTEST_PAUSE && first >= SHORTEST_PAUSE / 2);
        let last = (0..20).map(|_| backoff.next()).last().unwrap();
        assert!(last <= LONGEST_PAUSE && last >= LONGEST_PAUSE / 2);
    }
}
