//! One alert group after the other: what is known of it, and when its receiver is told what.
//!
//! [`state`] takes breaches in, [`decide`] decides and says why, [`processor`] plugs both into the exactly-once
//! runtime: a decision, the state it leaves and the notification in the outbox are committed as one.

pub mod codec;
pub mod decide;
mod open;
pub mod processor;
pub mod state;
#[cfg(test)]
mod tests;
