//! Messages as bytes and back.
//!
//! With a schema registry records are written in Confluent's wire format, without one in Avro's single-object
//! encoding. Both forms are read, whichever is written, and always with the schema they were **written** with;
//! so older and newer records decode: fields this program does not know are skipped, missing ones take their
//! default, and an enum symbol it does not know becomes `Unknown`.

mod error;
mod framing;
mod patient;
mod registry;
#[cfg(test)]
mod tests;

use std::{io::Read, sync::Arc};

use serde::Deserialize;
use serde_avro_fast::{Schema, de::DeserializerState, ser::SerializerConfig};

pub use self::{
    error::{DecodeError, EncodeError, RegistryError},
    patient::PatientCodec,
    registry::RegistryConfig,
};
use self::{framing::Frame, registry::Registry};
pub use crate::message::AvroMessage;
use crate::{message::MessageType, redact::without_values};

/// Encodes and decodes messages. Cheap to clone; clones share the registry's cache.
#[derive(Debug, Clone)]
pub struct Codec {
    registry: Option<Arc<Registry>>,
}

impl Codec {
    /// Writes Avro single-object encoding.
    pub fn without_registry() -> Self {
        Self { registry: None }
    }

    /// Writes Confluent's wire format. Does not call the registry yet: a schema is registered when a message
    /// of its type is first written, and fetched when its id is first read.
    pub fn with_registry(config: RegistryConfig) -> Result<Self, RegistryError> {
        Ok(Self { registry: Some(Arc::new(Registry::start(config)?)) })
    }

    /// Makes sure that messages of this type can be written without asking the registry. May block on it.
    pub fn register<T: AvroMessage>(&self) -> Result<(), EncodeError> {
        match &self.registry {
            Some(registry) => registry.id_of(T::TYPE).map(drop),
            None => Ok(()),
        }
    }

    /// The message as bytes. May block on the registry at the first message of a type.
    pub fn encode<T: AvroMessage>(&self, message: &T) -> Result<Vec<u8>, EncodeError> {
        let mut bytes = Vec::with_capacity(256);
        self.encode_into(message, &mut bytes)?;
        Ok(bytes)
    }

    /// Appends the message to `bytes`; on an error `bytes` is as it was.
    pub fn encode_into<T: AvroMessage>(&self, message: &T, bytes: &mut Vec<u8>) -> Result<(), EncodeError> {
        let start = bytes.len();
        let schema = T::schema();
        match &self.registry {
            Some(registry) => framing::push_schema_id(bytes, registry.id_of(T::TYPE)?),
            None => framing::push_fingerprint(bytes, *schema.rabin_fingerprint()),
        }
        // Fields are declared in the schema's order, so the serializer needs no buffers worth keeping between calls.
        if let Err(error) = serde_avro_fast::to_datum(message, &mut *bytes, &mut SerializerConfig::new(schema)) {
            bytes.truncate(start);
            return Err(EncodeError::Unencodable { message: T::NAME, detail: without_values(&error.to_string()) });
        }
        Ok(())
    }

    /// The message in `bytes`. May block on the registry at the first sight of a schema id.
    pub fn decode<T: AvroMessage>(&self, bytes: &[u8]) -> Result<T, DecodeError> {
        self.decode_view::<T, T>(bytes)
    }

    /// The message in `bytes`, to be changed and written again: one that a newer program wrote is refused, or what this
    /// program does not know of it would be lost.
    pub fn decode_own<T: AvroMessage>(&self, bytes: &[u8]) -> Result<T, DecodeError> {
        self.read::<T, T>(bytes, Purpose::ToChange).map_err(|error| match error {
            DecodeError::UnknownFingerprint { message, .. } => DecodeError::Newer { message },
            error => error,
        })
    }

    /// Decodes only what `V` asks for of a message `T`: any subset of its fields, borrowing strings from `bytes`
    /// where `V` does. For readers that need few fields of many records.
    pub fn decode_view<'de, T: AvroMessage, V: Deserialize<'de>>(&self, bytes: &'de [u8]) -> Result<V, DecodeError> {
        self.read::<T, V>(bytes, Purpose::ToLookAt)
    }

    fn read<'de, T: AvroMessage, V: Deserialize<'de>>(
        &self,
        bytes: &'de [u8],
        purpose: Purpose,
    ) -> Result<V, DecodeError> {
        match framing::parse(bytes)? {
            Frame::SingleObject { fingerprint, datum } => {
                let schema = T::TYPE
                    .schema_by_fingerprint(fingerprint)
                    .ok_or(DecodeError::UnknownFingerprint { message: T::NAME, fingerprint })?;
                decode_datum(T::TYPE, datum, schema)
            }
            Frame::Confluent { schema_id, datum } => {
                let registry = self
                    .registry
                    .as_ref()
                    .ok_or(DecodeError::UnknownSchemaId { schema_id, detail: "no schema registry is configured" })?;
                let writer = registry.schema_of(schema_id)?;
                if writer.message != Some(T::TYPE) {
                    return Err(DecodeError::Malformed {
                        message: T::NAME,
                        detail: format!("schema id {schema_id} is that of {}", writer.full_name),
                    });
                }
                if writer.is_newer() && matches!(purpose, Purpose::ToChange) {
                    return Err(DecodeError::Newer { message: T::NAME });
                }
                decode_datum(T::TYPE, datum, &writer.schema)
            }
        }
    }
}

/// What a message is read for.
#[derive(Debug, Clone, Copy)]
enum Purpose {
    ToLookAt,
    /// It is written again, so nothing of it may be unknown.
    ToChange,
}

fn decode_datum<'de, V: Deserialize<'de>>(
    message: MessageType,
    datum: &'de [u8],
    schema: &Schema,
) -> Result<V, DecodeError> {
    let malformed = |detail: String| DecodeError::Malformed { message: message.name(), detail };
    let mut state = DeserializerState::from_slice(datum, schema);
    let value = V::deserialize(state.deserializer()).map_err(|error| malformed(without_values(&error.to_string())))?;
    match state.into_reader().read(&mut [0]) {
        Ok(0) => Ok(value),
        _ => Err(malformed("bytes are left over behind it".to_owned())),
    }
}
