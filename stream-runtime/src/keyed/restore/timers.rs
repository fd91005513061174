//! Makes a timer index anew.

use anyhow::Context as _;

use crate::keyed::{
    Codec, KeyedProcessor, Shared,
    store::{Meta, TaskStore},
};

/// Changes in one batch.
const BATCH: usize = 5_000;

/// Makes the timer index anew from the states.
pub fn rebuild<P: KeyedProcessor, C: Codec<P>>(
    shared: &Shared<P, C>,
    store: &TaskStore,
    meta: &mut Meta,
) -> anyhow::Result<()> {
    tracing::info!(partition = store.partition(), "timers are made anew from the states");
    // First the mark: whatever fingerprint comes next time, a half-made index matches none.
    meta.timer_fingerprint = None;
    let mut batch = shared.stores.batch();
    batch.describe(store, meta);
    batch.commit()?;

    let mut batch = shared.stores.batch();
    for timer in store.timers() {
        batch.forget(store, timer?);
        if batch.len() >= BATCH {
            std::mem::replace(&mut batch, shared.stores.batch()).commit()?;
        }
    }
    batch.commit()?;

    let mut batch = shared.stores.batch();
    for stored in store.states() {
        let stored = stored?;
        let sealed = &stored.sealed;
        let state = shared.codec.decode_state(sealed.state()).context("a stored state cannot be decoded")?;
        let due = shared.processor.next_due(&state);
        if due == sealed.due_ms() {
            batch.insert_timer(store, stored.key(), due);
        } else {
            batch.put(store, stored.key(), sealed.state(), None, due);
        }
        if batch.len() >= BATCH {
            std::mem::replace(&mut batch, shared.stores.batch()).commit()?;
        }
    }
    batch.commit()?;
    Ok(())
}
