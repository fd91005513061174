//! What tests make happen at named lines of the program; in no release.
//!
//! `FAILPOINTS` is the `fail` crate's own. `TTF_FAULTS=<point>=<kill|stop>@<file>[;…]` sends this process SIGKILL or
//! SIGSTOP when it comes to the point while the file is there: the test makes the file when it wants the fault, and
//! sees by the file being gone that the point was reached. One file is one fault.

use std::{fs, path::PathBuf};

use rustix::process::{Signal, getpid, kill_process};

const VARIABLE: &str = "TTF_FAULTS";

/// Takes the faults from the environment. They hold until the value is dropped.
///
/// # Panics
/// When `TTF_FAULTS` cannot be understood.
pub fn setup() -> fail::FailScenario<'static> {
    let scenario = fail::FailScenario::setup();
    let told = std::env::var(VARIABLE).unwrap_or_default();
    for fault in told.split(';').filter(|fault| !fault.is_empty()) {
        let (point, signal, armed) =
            parse(fault).unwrap_or_else(|| panic!("{VARIABLE}: `{fault}` is not `<point>=<kill|stop>@<file>`"));
        let send = move || {
            // Who takes the file away sends the signal: one of all threads, once.
            if fs::remove_file(&armed).is_ok() {
                let _ = kill_process(getpid(), signal);
            }
        };
        fail::cfg_callback(point, send).unwrap_or_else(|error| panic!("{VARIABLE}: {error}"));
    }
    scenario
}

fn parse(fault: &str) -> Option<(&str, Signal, PathBuf)> {
    let (point, rest) = fault.split_once('=')?;
    let (action, armed) = rest.split_once('@')?;
    let signal = match action {
        "kill" => Signal::KILL,
        "stop" => Signal::STOP,
        _ => return None,
    };
    Some((point, signal, armed.into()))
}
