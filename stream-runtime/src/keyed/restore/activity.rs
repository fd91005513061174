//! What the restores of a process are doing, and whether they may.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use parking_lot::{Condvar, Mutex, MutexGuard};

/// What the restores of a process are doing. They read on by themselves, or, when they are [`driven`](Self::driven),
/// one poll at a time and only while somebody waits for them: so that what is read does not depend on threads racing.
#[derive(Debug, Default)]
pub struct Activity {
    is_driven: bool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Restores that have not ended.
    running: usize,
    /// Orders that are on their way to a writer or being carried out.
    writing: usize,
    /// Restores that wait for their turn.
    waiting: usize,
    /// Turns that were given and not taken.
    turns: usize,
}

impl State {
    /// True while nothing moves, and nothing will before it is given a turn.
    fn is_still(&self) -> bool {
        self.turns == 0 && self.writing == 0 && self.waiting == self.running
    }
}

impl Activity {
    /// Restores move only within [`drive`](Self::drive).
    pub fn driven() -> Self {
        Self { is_driven: true, ..Self::default() }
    }

    /// Lets restores go on until all have ended or none can; returns when nothing moves any more, false when it still
    /// does at the deadline.
    pub fn drive(&self, is_blocked: impl Fn() -> bool, deadline: Instant) -> bool {
        let mut state = self.state.lock();
        loop {
            while !state.is_still() {
                if self.changed.wait_until(&mut state, deadline).timed_out() {
                    return false;
                }
            }
            if state.running == 0 || MutexGuard::unlocked(&mut state, &is_blocked) {
                return true;
            }
            state.turns = state.waiting;
            self.changed.notify_all();
        }
    }

    /// Where a restore begins to read: waits until it may. False when it was cancelled.
    pub(super) fn wait_for_turn(&self, cancelled: &AtomicBool) -> bool {
        if self.is_driven {
            let mut state = self.state.lock();
            state.waiting += 1;
            self.changed.notify_all();
            while state.turns == 0 && !cancelled.load(Ordering::Relaxed) {
                self.changed.wait(&mut state);
            }
            state.waiting -= 1;
            state.turns = state.turns.saturating_sub(1);
        }
        !cancelled.load(Ordering::Relaxed)
    }

    /// Tells restores that wait for their turn to look whether they were cancelled.
    pub(super) fn wake(&self) {
        self.change(|_| {});
    }

    pub(super) fn ordered(&self) {
        self.change(|state| state.writing += 1);
    }

    pub(super) fn carried_out(&self) {
        self.change(|state| state.writing -= 1);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock());
        self.changed.notify_all();
    }
}

/// A restore that has not ended.
pub(super) struct Running(std::sync::Arc<Activity>);

impl Running {
    pub fn new(activity: std::sync::Arc<Activity>) -> Self {
        activity.change(|state| state.running += 1);
        Self(activity)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.change(|state| {
            state.running -= 1;
            // What a failed writer has left undone nobody waits for.
            if state.running == 0 {
                state.writing = 0;
            }
        });
    }
}
