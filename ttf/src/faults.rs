//! What tests make happen at named lines of the program; in no release.
//!
//! `FAILPOINTS` is the `fail` crate's own. `TTF_FAULTS=<point>=<action>@<file>[;…]` does something when the point is
//! reached while the file is there: the test makes the file when it wants the fault.
//!
//! - `kill`, `stop`: the process sends itself SIGKILL or SIGSTOP and takes the file away, so that the test can tell.
//! - `hold`: the thread stays there until the test takes the file away.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use rustix::process::{Signal, getpid, kill_process};

const VARIABLE: &str = "TTF_FAULTS";
const HOLD_STEP: Duration = Duration::from_millis(5);

#[derive(Clone, Copy)]
enum Action {
    Send(Signal),
    Hold,
}

/// Takes the faults from the environment. They hold until the value is dropped.
///
/// # Panics
/// When `TTF_FAULTS` cannot be understood.
pub fn setup() -> fail::FailScenario<'static> {
    let scenario = fail::FailScenario::setup();
    let told = std::env::var(VARIABLE).unwrap_or_default();
    for fault in told.split(';').filter(|fault| !fault.is_empty()) {
        let (point, action, armed) =
            parse(fault).unwrap_or_else(|| panic!("{VARIABLE}: `{fault}` is not `<point>=<kill|stop|hold>@<file>`"));
        fail::cfg_callback(point, move || act(action, &armed)).unwrap_or_else(|error| panic!("{VARIABLE}: {error}"));
    }
    scenario
}

fn act(action: Action, armed: &Path) {
    match action {
        // Who takes the file away sends the signal: one of all threads, once.
        Action::Send(signal) => {
            if fs::remove_file(armed).is_ok() {
                let _ = kill_process(getpid(), signal);
            }
        }
        Action::Hold => {
            while armed.exists() {
                thread::sleep(HOLD_STEP);
            }
        }
    }
}

fn parse(fault: &str) -> Option<(&str, Action, PathBuf)> {
    let (point, rest) = fault.split_once('=')?;
    let (action, armed) = rest.split_once('@')?;
    let action = match action {
        "kill" => Action::Send(Signal::KILL),
        "stop" => Action::Send(Signal::STOP),
        "hold" => Action::Hold,
        _ => return None,
    };
    Some((point, action, armed.into()))
}
