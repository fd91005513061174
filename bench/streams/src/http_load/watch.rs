//! What processes use, and how much is answered, while the measurement lasts.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use serde::Serialize;

use crate::process::{self, Usage};

/// What was used between the beginning and the end of the measurement.
#[derive(Debug, Serialize)]
pub struct Used {
    pub pid: u32,
    pub cpu_seconds: f64,
    pub rss_before_bytes: u64,
    pub rss_after_bytes: u64,
    /// Of the process's life.
    pub rss_peak_bytes: u64,
    /// Every second.
    pub rss_bytes: Vec<u64>,
}

/// The measured time.
#[derive(Debug)]
pub struct Measured {
    pub seconds: f64,
    /// Requests that were answered in it.
    pub answered: u64,
    pub used: Vec<Used>,
}

/// Measures from `from` on for so long. Blocks: to be called on a thread of its own, not to wait for the load.
pub fn measure(pids: &[u32], answered: &Arc<AtomicU64>, from: Instant, duration: Duration) -> anyhow::Result<Measured> {
    sleep_until(from);
    let usages = || pids.iter().map(|pid| process::usage(*pid)).collect::<anyhow::Result<Vec<Usage>>>();
    let (began, answered_before, before) = (Instant::now(), answered.load(Ordering::Relaxed), usages()?);
    let end = began + duration;
    let mut samples: Vec<Vec<u64>> = vec![Vec::new(); pids.len()];
    let mut next = began + Duration::from_secs(1);
    while next < end {
        sleep_until(next);
        for (samples, usage) in samples.iter_mut().zip(usages()?) {
            samples.push(usage.rss_bytes);
        }
        next += Duration::from_secs(1);
    }
    sleep_until(end);
    let (seconds, answered_after, after) = (began.elapsed(), answered.load(Ordering::Relaxed), usages()?);
    let used = pids.iter().zip(before).zip(after).zip(samples).map(|(((pid, before), after), rss_bytes)| Used {
        pid: *pid,
        cpu_seconds: after.cpu_seconds - before.cpu_seconds,
        rss_before_bytes: before.rss_bytes,
        rss_after_bytes: after.rss_bytes,
        rss_peak_bytes: after.rss_peak_bytes,
        rss_bytes,
    });
    let answered = answered_after.checked_sub(answered_before).context("answers were taken back")?;
    Ok(Measured { seconds: seconds.as_secs_f64(), answered, used: used.collect() })
}

fn sleep_until(moment: Instant) {
    thread::sleep(moment.saturating_duration_since(Instant::now()));
}
