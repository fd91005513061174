//! How far a replay is, on standard error: one line that is written over on a terminal, else a line now and then.

use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

const ON_TERMINAL: Duration = Duration::from_millis(200);
const ELSEWHERE: Duration = Duration::from_secs(5);

/// Counts records and says so.
pub struct Progress {
    doing: &'static str,
    unit: &'static str,
    total: u64,
    done: u64,
    started: Instant,
    shown: Instant,
    on_terminal: bool,
    every: Duration,
}

impl Progress {
    pub fn new(doing: &'static str, unit: &'static str, total: u64) -> Self {
        let on_terminal = std::io::stderr().is_terminal();
        let now = Instant::now();
        let every = if on_terminal { ON_TERMINAL } else { ELSEWHERE };
        Self { doing, unit, total, done: 0, started: now, shown: now, on_terminal, every }
    }

    pub fn every(self, every: Duration) -> Self {
        Self { every: if self.on_terminal { self.every } else { every }, ..self }
    }

    pub fn advance(&mut self, count: u64) {
        self.done += count;
        if self.shown.elapsed() >= self.every {
            self.shown = Instant::now();
            self.show();
        }
    }

    /// Says the last word.
    pub fn finish(mut self) {
        self.total = self.done;
        self.show();
        if self.on_terminal {
            let _ = writeln!(std::io::stderr());
        }
    }

    fn show(&self) {
        let line = line(self.doing, self.unit, self.done, self.total, self.started.elapsed());
        let mut stderr = std::io::stderr().lock();
        // Nobody has to read it.
        let _ = if self.on_terminal { write!(stderr, "\r\u{1b}[2K{line}") } else { writeln!(stderr, "{line}") };
        let _ = stderr.flush();
    }
}

fn line(doing: &str, unit: &str, done: u64, total: u64, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    let rate = if seconds > 0.0 { done as f64 / seconds } else { 0.0 };
    let share = if total > 0 { (done as f64 / total as f64 * 100.0).min(100.0) } else { 100.0 };
    let left = if done >= total || rate <= 0.0 {
        String::new()
    } else {
        format!(", {} left", crate::tail::duration(((total - done) as f64 / rate * 1_000.0) as i64))
    };
    format!("{doing}: {done} of {} {unit} ({share:.0} %), {rate:.0}/s{left}", total.max(done))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_much_how_fast_and_how_long_still() {
        assert_eq!(
            line("reading", "records", 250, 1_000, Duration::from_secs(5)),
            "reading: 250 of 1000 records (25 %), 50/s, 15 s left"
        );
        assert_eq!(line("reading", "records", 0, 0, Duration::ZERO), "reading: 0 of 0 records (100 %), 0/s");
    }
}
