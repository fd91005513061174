//! Bounds the bytes held in memory for requests that are not answered yet, each tenant's part of them, and how many of
//! its bodies are checked at once.
//!
//! A tenant may hold as many bytes as are free: half of all when it is alone, a third when another does the same, and
//! so on. However many fill their part, the next one to come finds as much room as each of them has. (This is the
//! dynamic threshold that switches share their buffers by: Choudhury and Hahne, *Dynamic queue length thresholds for
//! shared-memory packet switches*, 1998.)

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use prometheus::{IntCounterVec, IntGauge};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What a request takes besides its bytes: its task, its place in queues. Empty ones are not free.
pub const REQUEST: usize = 4 * 1024;

/// Who holds the bytes of requests whose sender is found out from the body.
const NOBODY: &str = "";

/// A budget of bytes, shared by all requests.
#[derive(Debug, Clone)]
pub struct InFlight(Arc<Budget>);

#[derive(Debug)]
struct Budget {
    used: AtomicUsize,
    limit: usize,
    /// By tenant; they are configured, so they are few.
    parts: Mutex<HashMap<Arc<str>, Arc<Part>>>,
    /// How many bodies of a tenant are checked at once.
    turns: usize,
    gauge: IntGauge,
    /// By what was used up.
    refused: IntCounterVec,
}

/// What one tenant has under way.
#[derive(Debug)]
struct Part {
    held: AtomicUsize,
    turns: Arc<Semaphore>,
}

/// The budget is used up; the request must be refused before it takes memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exhausted {
    /// All of it.
    All,
    /// What this tenant may hold of it.
    Share,
}

impl InFlight {
    pub fn new(limit: usize, gauge: IntGauge, refused: IntCounterVec) -> Self {
        let turns = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self(Arc::new(Budget { used: AtomicUsize::new(0), limit, parts: Mutex::default(), turns, gauge, refused }))
    }

    /// Room for a request of a tenant, to be grown.
    pub fn reserve(&self, tenant: &Arc<str>) -> Result<Reservation, Exhausted> {
        let part = self.0.part_of(tenant);
        let mut reservation = Reservation { budget: self.0.clone(), part, bytes: 0 };
        reservation.grow(REQUEST)?;
        Ok(reservation)
    }

    /// Room for a request of somebody who is not known yet.
    pub fn reserve_for_unknown(&self) -> Result<Reservation, Exhausted> {
        self.reserve(&NOBODY.into())
    }
}

impl Budget {
    fn part_of(&self, tenant: &Arc<str>) -> Arc<Part> {
        let mut parts = self.parts.lock();
        if let Some(part) = parts.get(tenant) {
            return part.clone();
        }
        let part = Part { held: AtomicUsize::new(0), turns: Arc::new(Semaphore::new(self.turns)) };
        parts.entry(tenant.clone()).or_insert(Arc::new(part)).clone()
    }
}

/// Bytes taken from the budget; given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<Budget>,
    /// Of the tenant.
    part: Arc<Part>,
    bytes: usize,
}

impl Reservation {
    /// Takes `bytes` more.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let taken = self.take(bytes);
        if let Err(exhausted) = taken {
            self.budget.refused.with_label_values(&[exhausted.as_str()]).inc();
        }
        taken
    }

    fn take(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let limit = self.budget.limit;
        let held = self.part.held.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        // The bound on all is kept exactly; that of a tenant as of a moment ago.
        let grown = self.budget.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes).filter(|total| *total <= limit && held <= limit - *total)
        });
        match grown {
            Ok(before) => {
                self.bytes += bytes;
                self.budget.gauge.set((before + bytes) as i64);
                Ok(())
            }
            Err(used) => {
                self.part.held.fetch_sub(bytes, Ordering::Relaxed);
                Err(if used.saturating_add(bytes) > limit { Exhausted::All } else { Exhausted::Share })
            }
        }
    }

    /// Waits for one of the tenant's turns at checking bodies, of which there are as many as processors: threads of a
    /// tenant that sends many large bodies would leave the others little of their time.
    pub async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        // Never closed.
        self.part.turns.clone().acquire_owned().await.ok()
    }

    /// Says whose the request is, once that is known.
    pub fn assign(&mut self, tenant: &Arc<str>) -> Result<(), Exhausted> {
        let part = self.budget.part_of(tenant);
        self.part.held.fetch_sub(self.bytes, Ordering::Relaxed);
        let before = part.held.fetch_add(self.bytes, Ordering::Relaxed);
        self.part = part;
        let free = self.budget.limit.saturating_sub(self.budget.used.load(Ordering::Relaxed));
        if before + self.bytes <= free {
            return Ok(());
        }
        self.budget.refused.with_label_values(&[Exhausted::Share.as_str()]).inc();
        Err(Exhausted::Share)
    }
}

impl Exhausted {
    const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Share => "tenant",
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.part.held.fetch_sub(self.bytes, Ordering::Relaxed);
        let before = self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
        self.budget.gauge.set((before - self.bytes) as i64);
    }
}

#[cfg(test)]
pub mod tests {
    use futures::FutureExt;
    use prometheus::Opts;
    use proptest::prelude::*;

    use super::*;

    /// A budget of a test.
    pub fn in_flight(limit: usize) -> InFlight {
        let refused = IntCounterVec::new(Opts::new("refused", "Refused."), &["budget"]).unwrap();
        InFlight::new(limit, IntGauge::new("bytes", "Bytes.").unwrap(), refused)
    }

    const KIB: usize = 1024;

    #[test]
    fn the_budget_is_never_exceeded_and_comes_back() {
        let in_flight = in_flight(40 * KIB);
        let (acme, other) = ("acme".into(), "other".into());
        let mut first = in_flight.reserve(&acme).unwrap();
        assert_eq!(first.grow(16 * KIB), Ok(()));
        assert_eq!(first.grow(KIB), Err(Exhausted::Share), "20 of 40 are free");
        let mut second = in_flight.reserve(&other).unwrap();
        assert_eq!(second.grow(21 * KIB), Err(Exhausted::All));
        assert_eq!(second.grow(6 * KIB), Ok(()));
        drop(first);
        assert_eq!(in_flight.0.gauge.get(), 10 * KIB as i64);
        assert_eq!(second.grow(10 * KIB), Ok(()));
        drop(second);
        assert_eq!(in_flight.0.gauge.get(), 0);
        assert_eq!(in_flight.0.refused.with_label_values(&["tenant"]).get(), 1);
    }

    #[test]
    fn a_request_is_its_tenants_once_that_is_known() {
        let in_flight = in_flight(64 * KIB);
        let acme = "acme".into();
        let mut held: Vec<Reservation> = std::iter::from_fn(|| in_flight.reserve(&acme).ok()).collect();
        assert_eq!(held.len(), 8, "half of all");
        let mut unknown = in_flight.reserve_for_unknown().unwrap();
        assert_eq!(unknown.assign(&acme), Err(Exhausted::Share));
        held.truncate(2);
        drop(unknown);
        let mut unknown = in_flight.reserve_for_unknown().unwrap();
        assert_eq!(unknown.assign(&acme), Ok(()));
        drop((unknown, held));
        assert!(in_flight.0.parts.lock().values().all(|part| part.held.load(Ordering::Relaxed) == 0));
    }

    #[tokio::test]
    async fn whoever_takes_all_turns_takes_none_of_another() {
        let in_flight = in_flight(64 * KIB);
        let noisy = in_flight.reserve(&"noisy".into()).unwrap();
        let turns = in_flight.0.turns;
        let mut taken = Vec::new();
        for _ in 0..turns {
            taken.push(noisy.turn().await.unwrap());
        }
        assert!(noisy.turn().now_or_never().is_none(), "{turns} are all");
        let quiet = in_flight.reserve(&"quiet".into()).unwrap();
        assert!(quiet.turn().now_or_never().is_some());
        taken.pop();
        assert!(noisy.turn().now_or_never().is_some(), "one is free again");
    }

    proptest! {
        #[test]
        fn however_many_take_all_they_can_another_finds_as_much(noisy in 1_usize..20) {
            let limit = 4 * KIB * KIB;
            let in_flight = in_flight(limit);
            let tenants: Vec<Arc<str>> = (0..noisy).map(|number| number.to_string().into()).collect();
            let mut held: Vec<Reservation> = Vec::new();
            loop {
                let more: Vec<_> = tenants.iter().filter_map(|tenant| in_flight.reserve(tenant).ok()).collect();
                if more.is_empty() {
                    break;
                }
                held.extend(more);
            }
            let each = held.len() * REQUEST / noisy;
            let quiet = "quiet".into();
            let found = std::iter::from_fn(|| in_flight.reserve(&quiet).ok().map(std::mem::forget)).count() * REQUEST;
            prop_assert!(found * 2 + 2 * REQUEST >= each, "{found} of {limit}, the noisy have {each} each");
        }
    }
}
