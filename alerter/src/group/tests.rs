//! The group stage against a naive oracle, and through crashes.

mod acts;
mod crowd;
mod drive;
mod model;
mod model_acts;
mod past;
mod quiet;
mod semantics;
