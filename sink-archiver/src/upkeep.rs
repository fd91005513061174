//! Upkeep of the database: partitions ahead of time, roll-ups up to date. One process at a time does it.

use std::{sync::Arc, time::Duration};

use prometheus::{Histogram, IntCounterVec};
use service_kit::Kit;

use crate::database::{Database, DatabaseError, Duty, Held, Maintained};

const INTERVAL: Duration = Duration::from_secs(60);

/// Starts it on the kit.
pub fn start(database: Arc<dyn Database>, kit: &Kit) {
    let mut upkeep = Upkeep { database, figures: Figures::new(kit), duty: None };
    let shutdown = kit.shutdown();
    kit.spawn("database upkeep", async move {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = upkeep.round() => {}
            }
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    });
}

struct Upkeep {
    database: Arc<dyn Database>,
    figures: Figures,
    duty: Option<Box<dyn Held>>,
}

impl Upkeep {
    async fn round(&mut self) {
        let timer = self.figures.duration.start_timer();
        match self.maintain().await {
            Ok(Some(done)) => {
                timer.observe_duration();
                self.figures
                    .done
                    .with_label_values(&["partitions"])
                    .inc_by(u64::try_from(done.partitions).unwrap_or(0));
                self.figures.done.with_label_values(&["rollup_hours"]).inc_by(u64::try_from(done.hours).unwrap_or(0));
            }
            Ok(None) => {
                timer.stop_and_discard();
            }
            Err(error) => {
                timer.stop_and_discard();
                self.duty = None;
                self.figures.done.with_label_values(&["failed"]).inc();
                tracing::warn!(%error, "the database's upkeep has to wait");
            }
        }
    }

    /// `None` while another process does it.
    async fn maintain(&mut self) -> Result<Option<Maintained>, DatabaseError> {
        let held = match self.duty.take() {
            Some(held) if held.is_held().await => Some(held),
            _ => self.database.take_duty(Duty::Rollups).await?,
        };
        let Some(held) = held else { return Ok(None) };
        let done = self.database.maintain().await?;
        self.duty = Some(held);
        Ok(Some(done))
    }
}

struct Figures {
    done: IntCounterVec,
    duration: Histogram,
}

impl Figures {
    fn new(kit: &Kit) -> Self {
        Self {
            done: kit.metrics().counter_vec(
                "ttf_archive_upkeep_total",
                "Partitions made, hours of signups rolled up again, and rounds that failed.",
                &["what"],
            ),
            duration: kit.metrics().histogram(
                "ttf_archive_upkeep_seconds",
                "Time of a round of the database's upkeep.",
                &[0.01, 0.05, 0.25, 1.0, 5.0, 30.0, 120.0, 600.0],
            ),
        }
    }
}
