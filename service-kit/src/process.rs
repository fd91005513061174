//! Figures about the process itself, read from `/proc` when metrics are collected; absent on other systems.
//!
//! Names and units are those of the Prometheus client libraries.

use std::fs;

use parking_lot::Mutex;
use prometheus::{
    Counter, Gauge, IntGauge,
    core::{Collector, Desc},
    proto::MetricFamily,
};

/// Linux reports CPU time in ticks of 1/100 s on every architecture it runs on (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

pub struct ProcessCollector {
    cpu: Mutex<Counter>,
    resident: IntGauge,
    open_fds: IntGauge,
    threads: IntGauge,
    start_time: Gauge,
}

impl ProcessCollector {
    pub fn new() -> prometheus::Result<Self> {
        Ok(Self {
            cpu: Mutex::new(Counter::new(
                "process_cpu_seconds_total",
                "Total user and system CPU time spent in seconds.",
            )?),
            resident: IntGauge::new("process_resident_memory_bytes", "Resident memory size in bytes.")?,
            open_fds: IntGauge::new("process_open_fds", "Number of open file descriptors.")?,
            threads: IntGauge::new("process_threads", "Number of OS threads in the process.")?,
            start_time: Gauge::new(
                "process_start_time_seconds",
                "Start time of the process since unix epoch in seconds.",
            )?,
        })
    }
}

impl Collector for ProcessCollector {
    fn desc(&self) -> Vec<&Desc> {
        [self.resident.desc(), self.open_fds.desc(), self.threads.desc(), self.start_time.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Some(figures) = Figures::read() else { return Vec::new() };
        let cpu = self.cpu.lock();
        cpu.inc_by((figures.cpu_seconds - cpu.get()).max(0.0));
        self.resident.set(figures.resident_bytes);
        self.open_fds.set(figures.open_fds);
        self.threads.set(figures.threads);
        self.start_time.set(figures.start_time_seconds);
        [
            cpu.collect(),
            self.resident.collect(),
            self.open_fds.collect(),
            self.threads.collect(),
            self.start_time.collect(),
        ]
        .concat()
    }
}

#[derive(Debug, PartialEq)]
struct Figures {
    cpu_seconds: f64,
    resident_bytes: i64,
    open_fds: i64,
    threads: i64,
    start_time_seconds: f64,
}

impl Figures {
    fn read() -> Option<Self> {
        let open_fds = fs::read_dir("/proc/self/fd").ok()?.count();
        Self::parse(
            &fs::read_to_string("/proc/self/stat").ok()?,
            &fs::read_to_string("/proc/self/status").ok()?,
            &fs::read_to_string("/proc/stat").ok()?,
            i64::try_from(open_fds).ok()?,
        )
    }

    /// Fields as in `proc_pid_stat(5)`: 14 utime, 15 stime, 20 threads, 22 start; counted after the command's name,
    /// which is in brackets and may hold anything.
    fn parse(stat: &str, status: &str, machine: &str, open_fds: i64) -> Option<Self> {
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        let line = |text: &str, name: &str| -> Option<f64> {
            text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
        };
        Some(Self {
            cpu_seconds: (field(14)? + field(15)?) / TICKS_PER_SECOND,
            resident_bytes: (line(status, "VmRSS:")? * 1024.0) as i64,
            open_fds,
            threads: field(20)? as i64,
            start_time_seconds: line(machine, "btime ")? + field(22)? / TICKS_PER_SECOND,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_proc() {
        let stat =
            "42 (a b) c) S 1 42 42 0 -1 4194560 5000 0 10 0 250 50 0 0 20 0 7 0 12345 1000 200 18446744073709551615";
        let status = "Name:\tttf\nVmRSS:\t   2048 kB\nThreads:\t7\n";
        let machine = "cpu 1 2 3\nbtime 1700000000\n";
        assert_eq!(
            Figures::parse(stat, status, machine, 9),
            Some(Figures {
                cpu_seconds: 3.0,
                resident_bytes: 2 * 1024 * 1024,
                open_fds: 9,
                threads: 7,
                start_time_seconds: 1_700_000_123.45,
            })
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_plausible_figures() {
        let figures = Figures::read().expect("/proc is there on Linux");
        assert!(figures.resident_bytes > 100_000, "{figures:?}");
        assert!(figures.threads >= 1 && figures.open_fds >= 3, "{figures:?}");
    }
}
