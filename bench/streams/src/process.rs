//! A process under measurement, read through `/proc`.

use std::fs;

use anyhow::Context;
use serde::Serialize;

/// Linux counts a process's time in hundredths of a second.
const TICKS_PER_SECOND: f64 = 100.0;

/// What a process has used so far.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Usage {
    /// User and system time of all its threads, in seconds.
    pub cpu_seconds: f64,
    /// Resident memory now.
    pub rss_bytes: u64,
    /// The most it ever was.
    pub rss_peak_bytes: u64,
}

/// # Errors
/// When the process has ended.
pub fn usage(pid: u32) -> anyhow::Result<Usage> {
    let read = |name: &str| {
        fs::read_to_string(format!("/proc/{pid}/{name}")).with_context(|| format!("process {pid} has ended"))
    };
    let (stat, status) = (read("stat")?, read("status")?);
    let kilobytes = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
    };
    Ok(Usage {
        cpu_seconds: cpu_seconds(&stat).context("/proc has another form than expected")?,
        rss_bytes: kilobytes("VmRSS"),
        rss_peak_bytes: kilobytes("VmHWM"),
    })
}

/// From `/proc/<pid>/stat`: the name in parentheses may hold anything, the fields after it are numbers.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 150 25 0 0 20 0 5 0 1 2 3";
        assert_eq!(cpu_seconds(stat), Some(1.75));
    }

    #[test]
    fn this_process_uses_memory() {
        let usage = usage(std::process::id()).unwrap();
        assert!(usage.rss_bytes > 0 && usage.rss_peak_bytes >= usage.rss_bytes);
    }
}
