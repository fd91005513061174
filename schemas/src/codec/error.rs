//! What can go wrong between a message and its bytes, and whether trying again can help.

/// The settings of a schema registry cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("schema registry settings cannot be used: {0}")]
pub struct RegistryError(pub(super) String);

/// A message could not be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The registry did not answer and the schema's id is not known yet.
    #[error("schema registry is unavailable: {0}")]
    RegistryUnavailable(String),
    /// The registry holds the schema to be incompatible or invalid, or denies access.
    #[error("schema registry refused the schema of {message} on subject {subject}: {detail}")]
    SchemaRefused { message: &'static str, subject: String, detail: String },
    /// The value does not fit its schema.
    #[error("{message} does not fit its schema: {detail}")]
    Unencodable { message: &'static str, detail: String },
}

impl EncodeError {
    /// True when the same call can succeed later.
    pub fn is_retriable(&self) -> bool {
        matches!(self, Self::RegistryUnavailable(_))
    }
}

/// Bytes could not be read as a message. Never carries the message's content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("value is neither in Confluent's wire format nor in Avro's single-object encoding")]
    NotAvro,
    /// Written with a schema this program does not have: by a newer program, or as another type.
    #[error("no version of {message} has the schema fingerprint {}", hex::encode(fingerprint))]
    UnknownFingerprint { message: &'static str, fingerprint: [u8; 8] },
    /// Would lose something if it were written again.
    #[error("this {message} was written by a newer version of the program; upgrade this one")]
    Newer { message: &'static str },
    #[error("schema id {schema_id} cannot be resolved: {detail}")]
    UnknownSchemaId { schema_id: u32, detail: &'static str },
    /// The registry did not answer and the schema is not known yet.
    #[error("schema registry is unavailable: {0}")]
    RegistryUnavailable(String),
    #[error("value is not a well-formed {message}: {detail}")]
    Malformed { message: &'static str, detail: String },
}

impl DecodeError {
    /// True when the same bytes can be read later; false when they never will be (by this program).
    pub fn is_retriable(&self) -> bool {
        matches!(self, Self::RegistryUnavailable(_))
    }
}
