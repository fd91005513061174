//! The gateway over real HTTP on loopback, with a log in memory.

mod answers;
mod bad_input;
mod books;
mod callers;
mod connections;
mod document;
mod harness;
mod people;
