//! Faults at real processes on real Kafka: a trial sends events, makes processors suffer, and holds what came of it
//! against the oracle under both isolation levels.

mod cluster;
pub mod deadlines;
mod load;
mod outcome;
mod processor;
mod trial;

pub use cluster::{Cluster, Mark, PARTITIONS};
pub use load::Load;
pub use outcome::{Explained, Outcome, Seen};
pub use processor::{Processor, Spec};
pub use trial::{Trial, Window};
