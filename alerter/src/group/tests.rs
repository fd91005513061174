//! The group stage against a naive oracle, and through crashes.

mod acts;
mod model;
mod past;
mod quiet;
mod semantics;
