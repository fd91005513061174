//! Writes what was read, and completes the tasks that have all of it.

use std::sync::mpsc;

use super::{Job, Restored, Restoring, timers};
use crate::keyed::{
    Codec, KeyedProcessor,
    store::{Meta, Run, TaskStore},
};

/// What is to be written, in this order for each task.
pub enum Order {
    Write(Vec<Part>),
    /// The rest of a task that was read to its bound.
    Complete(Box<Restoring>),
}

/// A run, after which the store is as described.
pub struct Part {
    pub store: TaskStore,
    pub meta: Meta,
    pub run: Run,
}

/// Whether orders are still taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    On,
    /// The writer has failed and says why itself.
    Stopped,
}

impl<P: KeyedProcessor, C: Codec<P>> Job<'_, P, C> {
    pub(super) fn write_all(&self, orders: mpsc::Receiver<Order>) -> anyhow::Result<()> {
        for order in orders {
            let written = self.carry_out(order);
            self.shared.restores.carried_out();
            written?;
        }
        Ok(())
    }

    fn carry_out(&self, order: Order) -> anyhow::Result<()> {
        match order {
            Order::Write(parts) => {
                parts.into_iter().try_for_each(|Part { store, meta, run }| Ok(run.write(&store, &meta)?))
            }
            Order::Complete(task) => self.complete(*task),
        }
    }

    /// Completes the timer index, writes the description and reports.
    fn complete(&self, mut task: Restoring) -> anyhow::Result<()> {
        let fingerprint = Some(self.shared.options.timer_fingerprint.clone());
        if task.meta.timer_fingerprint == fingerprint {
            task.meta.written_at_ms = task.bound_at_ms;
            task.run.write(&task.store, &task.meta)?;
        } else {
            task.run.write(&task.store, &task.meta)?;
            timers::rebuild(self.shared, &task.store, &mut task.meta)?;
            task.meta.timer_fingerprint = fingerprint;
            task.meta.written_at_ms = task.bound_at_ms;
            let mut batch = self.shared.stores.batch();
            batch.describe(&task.store, &task.meta);
            batch.commit()?;
        }
        task.remaining.set(0);
        // The receiver is gone when the partition was taken away meanwhile.
        let _ = self.results.send(Ok(Restored { store: task.store, meta: task.meta }));
        Ok(())
    }
}
