//! Bounds the bytes held in memory for requests that are not answered yet.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use prometheus::IntGauge;

/// A budget of bytes, shared by all requests.
#[derive(Debug, Clone)]
pub struct InFlight(Arc<Budget>);

#[derive(Debug)]
struct Budget {
    used: AtomicUsize,
    limit: usize,
    gauge: IntGauge,
}

/// The budget is used up; the request must be refused before it takes memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exhausted;

impl InFlight {
    pub fn new(limit: usize, gauge: IntGauge) -> Self {
        Self(Arc::new(Budget { used: AtomicUsize::new(0), limit, gauge }))
    }

    /// An empty reservation, to be grown.
    pub fn reserve(&self) -> Reservation {
        Reservation { budget: self.0.clone(), bytes: 0 }
    }
}

/// Bytes taken from the budget; given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Reservation {
    /// Takes `bytes` more.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let limit = self.budget.limit;
        let grown = self.budget.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes).filter(|total| *total <= limit)
        });
        let before = grown.map_err(|_| Exhausted)?;
        self.bytes += bytes;
        self.budget.gauge.set((before + bytes) as i64);
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let before = self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
        self.budget.gauge.set((before - self.bytes) as i64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_never_exceeded_and_comes_back() {
        let gauge = IntGauge::new("bytes", "Bytes.").unwrap();
        let in_flight = InFlight::new(10, gauge.clone());
        let mut first = in_flight.reserve();
        assert_eq!(first.grow(6), Ok(()));
        let mut second = in_flight.reserve();
        assert_eq!(second.grow(5), Err(Exhausted));
        assert_eq!(second.grow(4), Ok(()));
        drop(first);
        assert_eq!(gauge.get(), 4);
        assert_eq!(second.grow(6), Ok(()));
        drop(second);
        assert_eq!(gauge.get(), 0);
    }
}
