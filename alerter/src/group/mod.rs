//! One alert group after the other: what is known of it, and when its receiver is told what.
//!
//! [`state`] takes breaches in, [`act`] what operators ask, [`decide`] decides and says why, [`history`] notes it for those
//! who ask later; [`past`] counts what came too late. What a group has no room for is counted exactly all the same
//! ([`room`], [`unlisted`]). [`processor`] plugs all of it into the exactly-once runtime: a
//! decision, the state it leaves and the notification in the outbox are committed as one.

pub mod act;
pub mod codec;
pub mod decide;
pub mod history;
mod open;
pub mod past;
pub mod processor;
pub mod room;
pub mod state;
#[cfg(test)]
mod tests;
mod unlisted;
