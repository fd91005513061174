//! Where a member's thread stands: it crashes or stops at the place it was told to, whatever it is doing.

use std::{
    cell::RefCell,
    panic,
    sync::mpsc,
    time::{Duration, Instant},
};

use super::member::Report;

/// A restore that takes longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// What befalls a member on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Crash,
    /// Stops until it is told to go on, as under `SIGSTOP`.
    Stall,
}

/// What a stopped member is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Release {
    GoOn,
    Die,
}

/// Thrown where a member dies.
pub(super) struct Killed;

/// Whether the restores of this process are done, or wait for what others must do first.
type IsSettled = Box<dyn Fn() -> bool>;

pub(super) struct Seat {
    is_settled: Option<IsSettled>,
    /// After so many more places.
    plan: Option<(u32, Fate)>,
    reports: mpsc::Sender<Report>,
    releases: mpsc::Receiver<Release>,
}

thread_local! {
    static SEAT: RefCell<Option<Seat>> = const { RefCell::new(None) };
}

/// Gives this thread a seat.
pub(super) fn take(reports: mpsc::Sender<Report>, releases: mpsc::Receiver<Release>) {
    SEAT.set(Some(Seat { is_settled: None, plan: None, reports, releases }));
}

/// Tells how to see whether this process's restores are settled.
pub(super) fn watch(is_settled: impl Fn() -> bool + 'static) {
    SEAT.with_borrow_mut(|seat| {
        if let Some(seat) = seat {
            seat.is_settled = Some(Box::new(is_settled));
        }
    });
}

/// Waits until the restores of this process are done or can only go on when others do something: nothing moves while
/// somebody else does.
pub(super) fn settle() {
    let deadline = Instant::now() + PATIENCE;
    SEAT.with_borrow(|seat| {
        let Some(is_settled) = seat.as_ref().and_then(|seat| seat.is_settled.as_ref()) else { return };
        while !is_settled() {
            assert!(Instant::now() < deadline, "the restore neither ends nor waits for anything");
            std::thread::sleep(Duration::from_micros(20));
        }
    });
}

/// Plans what befalls this thread after so many more places.
pub(super) fn plan(fate: Option<(u32, Fate)>) {
    SEAT.with_borrow_mut(|seat| {
        if let Some(seat) = seat {
            seat.plan = fate;
        }
    });
}

/// A place where a member may crash or stop: a call to the log, or a fail point. Does nothing in other threads.
pub(super) fn arrive() {
    if std::thread::panicking() {
        return;
    }
    let dies = SEAT.with_borrow_mut(|seat| {
        let Some(Seat { plan, reports, releases, .. }) = seat else { return false };
        match plan {
            None => false,
            Some((0, fate)) => {
                let fate = *fate;
                *plan = None;
                fate == Fate::Crash || {
                    // Nobody listens any more when the simulation is over.
                    let _ = reports.send(Report::Stalled);
                    releases.recv() != Ok(Release::GoOn)
                }
            }
            Some((places, _)) => {
                *places -= 1;
                false
            }
        }
    });
    if dies {
        panic::resume_unwind(Box::new(Killed));
    }
}
