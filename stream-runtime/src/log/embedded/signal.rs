//! Wakes one waiting reader.

use std::time::Instant;

use parking_lot::{Condvar, Mutex};

/// A flag that stays raised until it is lowered, so that nothing is missed between looking and waiting.
#[derive(Default)]
pub(super) struct Signal {
    raised: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    pub fn raise(&self) {
        let mut raised = self.raised.lock();
        if !*raised {
            *raised = true;
            self.changed.notify_all();
        }
    }

    pub fn lower(&self) {
        *self.raised.lock() = false;
    }

    /// Waits until it is raised; false when `deadline` came first.
    pub fn wait_until(&self, deadline: Instant) -> bool {
        let mut raised = self.raised.lock();
        while !*raised {
            if self.changed.wait_until(&mut raised, deadline).timed_out() {
                return *raised;
            }
        }
        true
    }
}
