//! When the next request is due: at once, or on a schedule that does not wait for answers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;

/// Hands out requests.
pub struct Pace {
    began: Instant,
    /// Requests a second; none: as fast as they are answered.
    rate: Option<f64>,
    next: AtomicU64,
    due: Semaphore,
    is_over: AtomicBool,
}

impl Pace {
    /// Begins now. A thread of its own keeps the schedule: timers of the runtime go by whole milliseconds.
    pub fn start(rate: Option<f64>) -> Arc<Self> {
        let pace = Arc::new(Self {
            began: Instant::now(),
            rate,
            next: AtomicU64::new(0),
            due: Semaphore::new(0),
            is_over: AtomicBool::new(false),
        });
        if let Some(rate) = rate {
            let pace = pace.clone();
            thread::spawn(move || pace.keep(rate));
        }
        pace
    }

    pub fn began(&self) -> Instant {
        self.began
    }

    /// No further requests.
    pub fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.due.close();
    }

    /// Waits for the next request; the answer is its number and when it was due, or `None` when there are no more.
    /// One that is taken late was due all the same: what waits for a slow answer counts as slow, too.
    pub async fn next(&self) -> Option<(u64, Instant)> {
        if let Some(rate) = self.rate {
            self.due.acquire().await.ok()?.forget();
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            return Some((number, self.due_at(number, rate)));
        }
        if self.is_over.load(Ordering::Relaxed) {
            return None;
        }
        Some((self.next.fetch_add(1, Ordering::Relaxed), Instant::now()))
    }

    fn due_at(&self, number: u64, rate: f64) -> Instant {
        self.began + Duration::from_secs_f64(number as f64 / rate)
    }

    fn keep(&self, rate: f64) {
        for number in 0.. {
            let (due, now) = (self.due_at(number, rate), Instant::now());
            if due > now {
                thread::sleep(due - now);
            }
            if self.is_over.load(Ordering::Relaxed) {
                return;
            }
            self.due.add_permits(1);
        }
    }
}
