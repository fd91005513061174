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

/// Lets the restores of this process go on as far as they can without others; false when the deadline is over first.
type Drive = Box<dyn Fn(Instant) -> bool>;

pub(super) struct Seat {
    drive: Option<Drive>,
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
    SEAT.set(Some(Seat { drive: None, plan: None, reports, releases }));
}

/// Tells how this process's restores are driven.
pub(super) fn drive_by(drive: impl Fn(Instant) -> bool + 'static) {
    SEAT.with_borrow_mut(|seat| {
        if let Some(seat) = seat {
            seat.drive = Some(Box::new(drive));
        }
    });
}

/// Lets the restores of this process go on until they are done or wait for what others must do first. At any other time
/// they stand still.
pub(super) fn settle() {
    SEAT.with_borrow(|seat| {
        let Some(drive) = seat.as_ref().and_then(|seat| seat.drive.as_ref()) else { return };
        assert!(drive(Instant::now() + PATIENCE), "the restore neither ends nor waits for anything");
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
