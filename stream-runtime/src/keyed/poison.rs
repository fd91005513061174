//! Watches the share of records that cannot be processed: a few are bad data, many are a bad release.

/// Records that are looked back upon.
const WINDOW: usize = 1_000;

/// Outcomes of the last [`WINDOW`] records.
#[derive(Debug)]
pub struct PoisonWindow {
    share: f64,
    minimum: u32,
    /// A ring of outcomes.
    poisoned: Vec<bool>,
    next: usize,
    count: u32,
}

impl PoisonWindow {
    /// Trips when more than `share` of the last records, and at least `minimum`, were poison.
    pub fn new(share: f64, minimum: u32) -> Self {
        Self { share, minimum, poisoned: Vec::with_capacity(WINDOW), next: 0, count: 0 }
    }

    /// Counts one record; true when there are too many poison ones now.
    pub fn record(&mut self, poison: bool) -> bool {
        if self.poisoned.len() < WINDOW {
            self.poisoned.push(poison);
        } else {
            self.count -= u32::from(self.poisoned[self.next]);
            self.poisoned[self.next] = poison;
        }
        self.next = (self.next + 1) % WINDOW;
        self.count += u32::from(poison);
        poison && self.count >= self.minimum && f64::from(self.count) > self.share * self.poisoned.len() as f64
    }

    /// Poison records and all records in the window.
    pub fn seen(&self) -> (u32, usize) {
        (self.count, self.poisoned.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_bad_records_at_the_start_do_not_trip_it() {
        let mut window = PoisonWindow::new(0.5, 10);
        assert!((0..9).all(|_| !window.record(true)));
        assert!(window.record(true));
    }

    #[test]
    fn it_trips_above_the_share_and_forgets_what_has_left_the_window() {
        let mut window = PoisonWindow::new(0.1, 5);
        for _ in 0..WINDOW {
            assert!(!window.record(false));
        }
        assert!((0..100).all(|_| !window.record(true)), "exactly the share is not too many");
        assert!(window.record(true));
        for _ in 0..WINDOW {
            window.record(false);
        }
        assert_eq!(window.seen(), (0, WINDOW));
    }
}
