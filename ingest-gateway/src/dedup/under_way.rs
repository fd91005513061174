//! Events on their way to the log: of two requests of this process with the same event one publishes it, and the other
//! waits to learn what became of it.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::Identity;

/// The events under way in this process; cheap to clone.
#[derive(Clone, Default)]
pub struct UnderWay(Arc<Mutex<HashMap<Identity, watch::Receiver<()>>>>);

/// The events a request publishes; others may again once this is dropped.
pub struct Claims {
    table: UnderWay,
    claimed: Vec<Identity>,
    /// Whoever waits is woken when it is dropped.
    _done: watch::Sender<()>,
}

/// An event that another request publishes.
pub struct Elsewhere(watch::Receiver<()>);

impl Elsewhere {
    /// Waits until the other request is over. It does so within its acknowledgement time-out.
    pub async fn ended(mut self) {
        // Nothing is ever sent: an error is what is waited for.
        let _ = self.0.changed().await;
    }
}

impl UnderWay {
    /// Claims all events that nobody else publishes; the answer has the others, in the order of the question.
    pub fn claim(&self, identities: &[Identity]) -> (Claims, Vec<Option<Elsewhere>>) {
        let (done, waiting) = watch::channel(());
        let mut claimed = Vec::with_capacity(identities.len());
        let mut table = self.0.lock();
        let elsewhere = identities
            .iter()
            .map(|identity| match table.entry(*identity) {
                Entry::Occupied(other) => Some(Elsewhere(other.get().clone())),
                Entry::Vacant(free) => {
                    free.insert(waiting.clone());
                    claimed.push(*identity);
                    None
                }
            })
            .collect();
        drop(table);
        (Claims { table: self.clone(), claimed, _done: done }, elsewhere)
    }
}

impl Drop for Claims {
    fn drop(&mut self) {
        let mut table = self.table.0.lock();
        for identity in &self.claimed {
            table.remove(identity);
        }
        // After a burst the table gives its memory back.
        if table.is_empty() && table.capacity() > 10_000 {
            table.shrink_to(1_000);
        }
    }
}
