//! The messages that travel as Avro, and the schemas they are written and read with.

use std::sync::LazyLock;

use serde::{Serialize, de::DeserializeOwned};
use serde_avro_fast::Schema;

use crate::{
    alert::{AlertCommand, AlertState, Notification},
    audit::AuditEntry,
    breach::TtfBreach,
    cohort::CohortSummary,
    erasure::Erasure,
    event::Event,
    record::TtfRecord,
    rejected::RejectedEvent,
    state::JourneyState,
    topics,
};

#[cfg(test)]
mod tests;

/// Namespace of every record.
pub const NAMESPACE: &str = "io.ttf.telemetry.v1";

/// A type that travels as Avro.
///
/// Its `Serialize` and `Deserialize` describe the Avro form; for JSON see [`crate::json`].
pub trait AvroMessage: Serialize + DeserializeOwned {
    const TYPE: MessageType;
    /// The record's name, without its namespace.
    const NAME: &'static str = Self::TYPE.name();

    /// The schema it is written with.
    fn schema() -> &'static Schema {
        Self::TYPE.schema()
    }
}

macro_rules! messages {
    ($($name:ident $file:literal past [$($version:literal),+] on $topic:expr;)+) => {
        /// Every kind of message.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum MessageType { $($name),+ }

        impl MessageType {
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The record's name, without its namespace.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),+ }
            }

            /// Name of its schema's file in `schemas/avro`, without the extension.
            pub const fn file_stem(self) -> &'static str {
                match self { $(Self::$name => $file),+ }
            }

            /// The schema it is written with, as JSON.
            pub const fn schema_json(self) -> &'static str {
                match self { $(Self::$name => include_str!(concat!("../avro/", $file, ".avsc"))),+ }
            }

            /// Every committed version as (version, JSON), oldest first. The newest equals [`Self::schema_json`].
            pub const fn versions(self) -> &'static [(u32, &'static str)] {
                match self {
                    $(Self::$name => &[
                        $(($version, include_str!(concat!("../past/", $file, ".v", $version, ".avsc")))),+
                    ]),+
                }
            }

            /// The topic it is bound to; its subject in a schema registry is that topic's.
            pub const fn topic(self) -> &'static str {
                match self { $(Self::$name => $topic),+ }
            }
        }

        $(impl AvroMessage for $name {
            const TYPE: MessageType = MessageType::$name;
        })+
    };
}

messages! {
    Event "event" past [1] on topics::EVENTS;
    RejectedEvent "rejected_event" past [1] on topics::EVENTS_REJECTED;
    JourneyState "journey_state" past [1, 2] on topics::TTF_STATE;
    TtfRecord "ttf_record" past [1] on topics::TTF_RECORDS;
    TtfBreach "ttf_breach" past [1, 2] on topics::TTF_BREACHES;
    CohortSummary "cohort_summary" past [1] on topics::TTF_COHORTS;
    AuditEntry "audit_entry" past [1] on topics::AUDIT;
    AlertState "alert_state" past [1, 2, 3] on topics::ALERT_STATE;
    Notification "notification" past [1, 2] on topics::ALERT_NOTIFICATIONS;
    AlertCommand "alert_command" past [1, 2] on topics::ALERT_COMMANDS;
    Erasure "erasure" past [1] on topics::ERASURES;
}

impl MessageType {
    /// The schema it is written with.
    pub fn schema(self) -> &'static Schema {
        &SCHEMAS[self as usize].current
    }

    /// The schema, current or past, that has this CRC-64-AVRO fingerprint (little endian).
    pub fn schema_by_fingerprint(self, fingerprint: [u8; 8]) -> Option<&'static Schema> {
        let schemas = &SCHEMAS[self as usize];
        std::iter::once(&schemas.current).chain(&schemas.past).find(|schema| *schema.rabin_fingerprint() == fingerprint)
    }

    /// `<namespace>.<name>`
    pub fn full_name(self) -> String {
        format!("{NAMESPACE}.{}", self.name())
    }

    pub fn from_full_name(full_name: &str) -> Option<Self> {
        let name = full_name.strip_prefix(NAMESPACE)?.strip_prefix('.')?;
        Self::ALL.iter().copied().find(|message| message.name() == name)
    }

    /// Where its schema is registered: `<topic>-value`.
    pub fn subject(self) -> String {
        format!("{}-value", self.topic())
    }
}

struct MessageSchemas {
    current: Schema,
    past: Vec<Schema>,
}

static SCHEMAS: LazyLock<Vec<MessageSchemas>> = LazyLock::new(|| {
    let parse = |json: &str| -> Schema {
        json.parse().expect("the schemas are embedded at build time, and a test parses every one of them")
    };
    MessageType::ALL
        .iter()
        .map(|message| MessageSchemas {
            current: parse(message.schema_json()),
            past: message.versions().iter().rev().map(|(_, json)| parse(json)).collect(),
        })
        .collect()
});
