//! The archiver: what analysts, auditors and dashboards read.
//!
//! - [`database`]: events, records and breaches in PostgreSQL, TimescaleDB or SQLite, offsets in the same transaction.
//! - [`objects`]: events, records and breaches as Parquet in S3 or a folder, under pseudonyms.
//! - [`live_view`]: where the journeys of a user stand now, in Redis or memory, in front of the database.
//! - [`cohorts`]: the figures of cohorts of signups, every minute, from the database.
//! - [`retention`]: what goes when, and never before it is archived and verified.
//! - [`privacy`]: certificates of erasures, and what is kept about somebody.
//! - [`whereabouts`]: where one event is in all that.
//! - [`erasure`]: who was erased, so that nothing from before comes back.

pub mod cohorts;
pub mod config;
pub mod database;
pub mod decode;
pub mod erasure;
pub mod live_view;
pub mod metrics;
pub mod objects;
pub mod privacy;
pub mod rejects;
pub mod retention;
mod run;
#[cfg(test)]
mod samples;
mod upkeep;
pub mod whereabouts;

pub use config::{ArchiveConfig, RetentionConfig};
pub use live_view::{LiveView, open_live_view};
pub use run::{EVENTS_GROUP, JOURNEYS_GROUP, OBJECTS_GROUP, migrate, run, schema_versions};
