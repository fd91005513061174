//! The gateway over real HTTP on loopback, with a log in memory.

mod answers;
mod app;
mod bad_input;
mod books;
mod callers;
mod cloud_events;
mod compat;
mod connections;
mod document;
mod en_masse;
mod harness;
mod http2;
mod limits;
mod malformed;
mod operators;
mod people;
mod plan;
mod privacy;
mod registry;
mod repeats;
mod shares;
mod wire;
