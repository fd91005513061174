//! The schema registry: ids by message type, schemas by id, kept for the life of the process.
//!
//! The client blocks, so its calls run on one thread of their own; that makes it safe to encode and decode on an
//! async worker (which then waits for the answer, once per schema). What is known stays known through an outage.

mod client;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, OnceLock, mpsc},
    time::Duration,
};

use parking_lot::RwLock;
use serde_avro_fast::Schema;

use self::client::{Client, Refusal};
use super::error::{DecodeError, EncodeError, RegistryError};
use crate::message::MessageType;

/// How to reach a schema registry.
#[derive(Clone)]
pub struct RegistryConfig {
    /// Base URL, such as `http://registry:8081` or `http://registry:8080/apis/ccompat/v7`; several separated by
    /// commas are tried in order. A user name and password in it are used for basic authentication.
    pub url: String,
    /// Basic authentication (user name, password); takes precedence over that of the URL.
    pub basic_auth: Option<(String, String)>,
    /// Longest wait for one HTTP call.
    pub timeout: Duration,
    /// Calls made before the registry is taken to be unavailable.
    pub attempts: u32,
}

impl RegistryConfig {
    /// Five seconds a call, three attempts.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), basic_auth: None, timeout: Duration::from_secs(5), attempts: 3 }
    }
}

impl fmt::Debug for RegistryConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryConfig")
            .field("timeout", &self.timeout)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

/// A schema that records were written with.
pub(super) struct WriterSchema {
    pub schema: Schema,
    pub full_name: String,
    /// The message it is a version of; `None` when it is no message of ours.
    pub message: Option<MessageType>,
    is_newer: bool,
}

pub(super) struct Registry {
    calls: mpsc::Sender<Call>,
    ids: [OnceLock<u32>; MessageType::ALL.len()],
    schemas: RwLock<HashMap<u32, Arc<WriterSchema>>>,
}

/// One request to the registry's thread.
enum Call {
    Register { message: MessageType, reply: mpsc::Sender<Result<u32, Refusal>> },
    Fetch { schema_id: u32, reply: mpsc::Sender<Result<String, Refusal>> },
}

impl Registry {
    pub fn start(config: RegistryConfig) -> Result<Self, RegistryError> {
        let (calls, queue) = mpsc::channel::<Call>();
        let (ready, started) = mpsc::channel();
        std::thread::Builder::new()
            .name("schema-registry".to_owned())
            .spawn(move || {
                let mut client = match Client::new(&config) {
                    Ok(client) => client,
                    Err(error) => return drop(ready.send(Err(error))),
                };
                let _ = ready.send(Ok(()));
                // A caller that gave up does not wait for its answer.
                for call in queue {
                    match call {
                        Call::Register { message, reply } => drop(reply.send(client.register(message))),
                        Call::Fetch { schema_id, reply } => drop(reply.send(client.fetch(schema_id))),
                    }
                }
            })
            .map_err(|error| RegistryError(error.to_string()))?;
        started.recv().map_err(|_| RegistryError("its thread ended".to_owned()))??;
        Ok(Self { calls, ids: Default::default(), schemas: RwLock::default() })
    }

    /// The id of the schema that messages of this type are written with.
    pub fn id_of(&self, message: MessageType) -> Result<u32, EncodeError> {
        let known = &self.ids[message as usize];
        if let Some(id) = known.get() {
            return Ok(*id);
        }
        let id = self.call(|reply| Call::Register { message, reply }).map_err(|refusal| match refusal {
            Refusal::Unavailable(detail) => EncodeError::RegistryUnavailable(detail),
            Refusal::Definite(detail) => {
                EncodeError::SchemaRefused { message: message.name(), subject: message.subject(), detail }
            }
        })?;
        // What was written here is read here also when the registry is away by then.
        if let Some(writer) = WriterSchema::parse(message.schema().json()) {
            self.schemas.write().entry(id).or_insert_with(|| Arc::new(writer));
        }
        Ok(*known.get_or_init(|| id))
    }

    pub fn schema_of(&self, schema_id: u32) -> Result<Arc<WriterSchema>, DecodeError> {
        if let Some(schema) = self.schemas.read().get(&schema_id) {
            return Ok(Arc::clone(schema));
        }
        let json = self.call(|reply| Call::Fetch { schema_id, reply }).map_err(|refusal| match refusal {
            Refusal::Unavailable(detail) => DecodeError::RegistryUnavailable(detail),
            Refusal::Definite(_) => {
                DecodeError::UnknownSchemaId { schema_id, detail: "the registry does not have it as an Avro schema" }
            }
        })?;
        let writer = WriterSchema::parse(&json)
            .ok_or(DecodeError::UnknownSchemaId { schema_id, detail: "it is not that of an Avro record" })?;
        Ok(Arc::clone(self.schemas.write().entry(schema_id).or_insert(Arc::new(writer))))
    }

    fn call<T>(&self, call: impl FnOnce(mpsc::Sender<Result<T, Refusal>>) -> Call) -> Result<T, Refusal> {
        let ended = || Refusal::Unavailable("its thread ended".to_owned());
        let (reply, answer) = mpsc::channel();
        self.calls.send(call(reply)).map_err(|_| ended())?;
        answer.recv().map_err(|_| ended())?
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("schemas", &self.schemas.read().len()).finish_non_exhaustive()
    }
}

impl WriterSchema {
    fn parse(json: &str) -> Option<Self> {
        #[derive(serde::Deserialize)]
        struct Named {
            name: String,
            namespace: Option<String>,
        }
        let schema: Schema = json.parse().ok()?;
        let Named { name, namespace } = serde_json::from_str(json).ok()?;
        let full_name = match namespace {
            Some(namespace) if !name.contains('.') => format!("{namespace}.{name}"),
            _ => name,
        };
        let message = MessageType::from_full_name(&full_name);
        let fingerprint = *schema.rabin_fingerprint();
        let is_newer = message.is_some_and(|message| message.schema_by_fingerprint(fingerprint).is_none());
        Some(Self { schema, full_name, message, is_newer })
    }

    /// True when it is a version of a message of ours that this program does not have.
    pub fn is_newer(&self) -> bool {
        self.is_newer
    }
}
