//! A stream of events that goes on while processors come and go.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use telemetry_schemas::Event;
use tokio::task::JoinHandle;

use super::Cluster;
use crate::{
    scenario::{Scenario, native},
    wait,
};

/// A cohort of so many users, and a part of its events, at a time.
const USERS: usize = 20;
const PART: usize = 10;
const PACE: Duration = Duration::from_millis(25);

/// Events of `users` users, shuffled and with duplicates, none with a deadline that comes up soon.
pub(super) fn cohort(name: &str, users: usize, seed: u64) -> Vec<Event> {
    let now_ms = service_kit::clock::now_ms();
    let scenario = Scenario::generate_named(name, users, seed, now_ms);
    scenario.events.iter().map(|event| native(event, now_ms)).collect()
}

/// A load under way.
pub struct Load {
    ended: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
    sending: JoinHandle<Vec<Event>>,
}

impl Load {
    pub(super) fn start(cluster: Arc<Cluster>, users: String, seed: u64) -> Self {
        let (ended, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (is_ended, counted) = (ended.clone(), sent.clone());
        let sending = tokio::spawn(async move {
            let mut all = Vec::new();
            let mut pace = tokio::time::interval(PACE);
            for number in 0.. {
                let events = cohort(&format!("{users}-{number}"), USERS, seed + number);
                for part in events.chunks(PART) {
                    pace.tick().await;
                    cluster.publish(part).await;
                    counted.fetch_add(part.len(), Ordering::Relaxed);
                }
                all.extend(events);
                if is_ended.load(Ordering::Relaxed) {
                    break;
                }
            }
            all
        });
        Self { ended, sent, sending }
    }

    /// Waits until so many more events are acknowledged.
    pub async fn flows(&self, events: usize) {
        let before = self.sent.load(Ordering::Relaxed);
        wait::until("events flow", Duration::from_secs(30), || async {
            let more = self.sent.load(Ordering::Relaxed) - before;
            if more >= events { Ok(()) } else { Err(format!("{more} of {events}")) }
        })
        .await;
    }

    pub(super) async fn end(self) -> Vec<Event> {
        self.ended.store(true, Ordering::Relaxed);
        self.sending.await.expect("everything was acknowledged")
    }
}
