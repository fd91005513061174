//! What the runtime's tests share.
#![allow(dead_code, reason = "each test binary uses a part of it")]

pub mod faulty;
pub mod folder;
pub mod kafka;
pub mod ledger;
pub mod simulation;
pub mod tally;
