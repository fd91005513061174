//! The group stage against a naive oracle, and through crashes.

mod model;
mod semantics;
