//! Event ids that the shared memory has yet to be told of, because it was away when they were taken.

use std::collections::VecDeque;

use parking_lot::Mutex;
use prometheus::IntGauge;

use super::Identity;

/// So many are kept (1.2 MB); beyond, the oldest are forgotten: their repeats are known to this process alone.
const MOST: usize = 100_000;

/// A bounded queue, and whether somebody is at work on it.
pub struct Owed {
    queue: Mutex<Queue>,
    /// How many there are.
    held: IntGauge,
}

#[derive(Default)]
struct Queue {
    ids: VecDeque<Identity>,
    /// Of whoever is at work.
    in_hand: usize,
    is_served: bool,
}

impl Queue {
    fn extend(&mut self, identities: &[Identity]) {
        self.ids.extend(identities);
        let beyond = self.ids.len().saturating_sub(MOST);
        self.ids.drain(..beyond);
    }

    fn len(&self) -> i64 {
        (self.ids.len() + self.in_hand) as i64
    }
}

impl Owed {
    pub fn new(held: IntGauge) -> Self {
        Self { queue: Mutex::default(), held }
    }

    /// Adds ids; true when nobody is at work on the queue yet, which is then up to the caller.
    pub fn add(&self, identities: &[Identity]) -> bool {
        let mut queue = self.queue.lock();
        queue.extend(identities);
        self.held.set(queue.len());
        !std::mem::replace(&mut queue.is_served, true)
    }

    /// The oldest ids, at most so many; those taken before are settled. Nothing: there are none, and whoever asked is no
    /// longer at work on them.
    pub fn take(&self, most: usize) -> Vec<Identity> {
        let mut queue = self.queue.lock();
        let count = queue.ids.len().min(most);
        let taken: Vec<_> = queue.ids.drain(..count).collect();
        queue.is_served = !taken.is_empty();
        queue.in_hand = taken.len();
        self.held.set(queue.len());
        taken
    }

    /// Puts back what was taken last: it could not be told.
    pub fn put_back(&self, identities: &[Identity]) {
        let mut queue = self.queue.lock();
        queue.in_hand = 0;
        queue.extend(identities);
        self.held.set(queue.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> Identity {
        Identity::of("t", "http", &number.to_string())
    }

    #[test]
    fn one_is_at_work_until_nothing_is_left() {
        let owed = Owed::new(IntGauge::new("owed", "owed").unwrap());
        assert!(owed.add(&[id(1), id(2)]));
        assert!(!owed.add(&[id(3)]), "somebody is");
        assert_eq!(owed.take(2), [id(1), id(2)]);
        assert_eq!((owed.take(2), owed.held.get()), (vec![id(3)], 1));
        owed.put_back(&[id(3)]);
        assert!(!owed.add(&[id(4)]), "still");
        assert_eq!((owed.take(2), owed.held.get()), (vec![id(3), id(4)], 2));
        assert_eq!((owed.take(2), owed.held.get()), (vec![], 0));
        assert!(owed.add(&[id(5)]), "and now nobody is");
    }

    #[test]
    fn the_oldest_are_forgotten_beyond_the_bound() {
        let owed = Owed::new(IntGauge::new("owed", "owed").unwrap());
        let all: Vec<_> = (0..MOST + 3).map(id).collect();
        owed.add(&all);
        assert_eq!((owed.take(1), owed.held.get()), (vec![id(3)], MOST as i64));
    }
}
