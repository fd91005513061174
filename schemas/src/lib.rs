//! The contracts of TTF: what an event, a journey record, a breach and their kin look like,
//! on which topics they travel, and how they are written as bytes.
//!
//! No I/O happens here but the schema-registry client in [`codec`].

pub mod alert;
pub mod audit;
pub mod breach;
mod byte_string;
#[cfg(feature = "codec")]
pub mod codec;
pub mod cohort;
pub mod erasure;
pub mod event;
pub mod ids;
pub mod json;
pub mod json_schema;
pub mod key;
pub mod message;
pub mod record;
mod redact;
pub mod rejected;
#[cfg(test)]
mod samples;
pub mod state;
pub mod time;
pub mod topics;

pub use breach::{BreachKind, BreachLevel, BreachReason, BreachStatus, TtfBreach};
#[cfg(feature = "codec")]
pub use codec::{Codec, DecodeError, EncodeError, PatientCodec, RegistryConfig, RegistryError};
pub use event::{Event, EventType};
pub use key::{RecordKey, Subject};
pub use message::{AvroMessage, MessageType};
pub use record::{Anomaly, JourneyStatus, StageResult, TtfRecord};
pub use time::{EventTime, Millis};
