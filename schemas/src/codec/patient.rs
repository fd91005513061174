//! A codec for threads that may block and records that must not be lost.

use std::{thread, time::Duration};

use serde::Deserialize;

use super::{AvroMessage, Codec, DecodeError};

/// While the schema registry is away, a message is tried again this often and this far apart.
const ATTEMPTS: u32 = 30;
const PAUSE: Duration = Duration::from_secs(1);

/// Waits for a schema registry that is away instead of giving the message up: that is no reason to throw a record
/// out. Not for async workers.
#[derive(Debug, Clone)]
pub struct PatientCodec(Codec);

impl PatientCodec {
    pub fn new(codec: Codec) -> Self {
        Self(codec)
    }

    /// The codec that does not wait: its errors tell what may be tried again.
    pub fn impatient(&self) -> &Codec {
        &self.0
    }

    /// The message in `bytes`; an error is the bytes' fault.
    ///
    /// # Panics
    /// When the registry stays away: the process ends, and nothing is lost.
    pub fn decode<T: AvroMessage>(&self, bytes: &[u8]) -> Result<T, DecodeError> {
        patiently::<T, _>(|| self.0.decode(bytes))
    }

    /// Like [`Codec::decode_own`].
    ///
    /// # Panics
    /// When the registry stays away: the process ends, and nothing is lost.
    pub fn decode_own<T: AvroMessage>(&self, bytes: &[u8]) -> Result<T, DecodeError> {
        patiently::<T, _>(|| self.0.decode_own(bytes))
    }

    /// Like [`Codec::decode_view`].
    ///
    /// # Panics
    /// When the registry stays away: the process ends, and nothing is lost.
    pub fn decode_view<'de, T: AvroMessage, V: Deserialize<'de>>(&self, bytes: &'de [u8]) -> Result<V, DecodeError> {
        patiently::<T, _>(|| self.0.decode_view::<T, V>(bytes))
    }

    /// The message's bytes.
    ///
    /// # Panics
    /// When the registry stays away or refuses the schema: the process ends, and nothing is lost.
    pub fn encode<T: AvroMessage>(&self, message: &T) -> Vec<u8> {
        for _ in 0..ATTEMPTS {
            match self.0.encode(message) {
                Ok(bytes) => return bytes,
                Err(error) if error.is_retriable() => {
                    tracing::warn!(%error, "cannot write a record yet");
                    thread::sleep(PAUSE);
                }
                Err(error) => panic!("cannot write a {}: {error}", T::NAME),
            }
        }
        panic!("the schema registry did not answer while a {} was to be written", T::NAME)
    }
}

fn patiently<T: AvroMessage, V>(decode: impl Fn() -> Result<V, DecodeError>) -> Result<V, DecodeError> {
    for _ in 0..ATTEMPTS {
        match decode() {
            Err(error) if error.is_retriable() => {
                tracing::warn!(%error, "cannot read a record yet");
                thread::sleep(PAUSE);
            }
            result => return result,
        }
    }
    panic!("the schema registry did not answer while a {} was to be read", T::NAME)
}
