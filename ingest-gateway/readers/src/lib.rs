//! The gateway's readers: from the bytes of a body to events that meet the schema. Pure functions: no I/O, no clock.
//!
//! - [`batch`] cuts a body into events, [`adapters`] puts what clients of other products send into the native form,
//!   [`validate`] holds an event against the schema and says what is wrong with it.
//! - [`probe`] hands one input to one of them; it is what fuzzing runs.
//!
//! They are a crate of their own so that a fuzzer need not instrument a web server and a Kafka client to get at them.

pub mod adapters;
pub mod batch;
pub mod probe;
pub mod validate;
