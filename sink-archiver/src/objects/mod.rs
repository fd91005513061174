//! The object archive: Parquet in S3 or a folder, by tenant and day, for years.
//!
//! All objects of a partition are cut at the same offset. `cut` decides where by facts of the records; `sink`
//! records the cut before its objects, so that whoever replays it cuts alike; `writer` turns it into objects under
//! `names` made of facts; `start` finds where to read on. People are in it under random pseudonyms only.
//!
//! `days` writes a manifest of every UTC day that is over, `verify` proves that a day is complete, unchanged and
//! what the topics hold, `restore` puts its events back through the pipe, `tally` counts it
//! against the database. `bucket` is what S3 is told about all of it.

pub mod bucket;
pub mod cut;
pub mod days;
pub mod grouping;
pub mod names;
pub mod parquet;
pub mod restore;
pub mod rows;
pub mod sink;
pub mod start;
pub mod store;
pub mod tally;
pub mod topic;
pub mod verify;
pub mod writer;
