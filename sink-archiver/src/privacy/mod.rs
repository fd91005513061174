//! What people are owed: what is kept about them, and to be forgotten.
//!
//! An erasure is carried out by the sinks (see [`crate::erasure`]). [`certificate`] says what was erased where and
//! when; [`watch`] follows it to its end; [`access`] gathers what is kept about somebody.

pub mod access;
pub mod certificate;
pub mod watch;
