//! The blocking calls, with retries, and with a pause after a failure so that an outage costs callers one wait, not
//! one each.

use std::{
    collections::HashMap,
    thread,
    time::{Duration, Instant},
};

use schema_registry_converter::{
    blocking::schema_registry::{SrSettings, get_schema_by_id_and_type, post_schema},
    error::SRCError,
    schema_registry_common::{SchemaType, SuppliedSchema},
};

use super::RegistryConfig;
use crate::{codec::error::RegistryError, message::MessageType};

/// How long after a failure the same answer is given without another call.
const PAUSE: Duration = Duration::from_secs(1);
/// First wait between attempts; doubles each time.
const BACKOFF: Duration = Duration::from_millis(100);
/// Ids the registry does not have that are remembered; junk must not grow this without bound.
const MISSING_MAX: usize = 1_024;

/// Why a call gave nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No answer, or one that says nothing of the schema: trying again may help.
    Unavailable(String),
    /// The registry said no.
    Definite(String),
}

pub(super) struct Client {
    settings: SrSettings,
    attempts: u32,
    failed: Option<(Instant, String)>,
    missing: HashMap<u32, (Instant, String)>,
}

impl Client {
    /// Must not be called, nor the client dropped, on an async worker.
    pub fn new(config: &RegistryConfig) -> Result<Self, RegistryError> {
        // The process may have chosen a provider already; then that one stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let endpoints = Endpoints::parse(config)?;
        let mut builder = SrSettings::new_builder(endpoints.first);
        for url in endpoints.others {
            builder.add_url(url);
        }
        if let Some((user, password)) = &endpoints.basic_auth {
            builder.set_basic_authorization(user, Some(password));
        }
        let settings = builder.set_timeout(config.timeout).build().map_err(|error| RegistryError(describe(&error)))?;
        Ok(Self { settings, attempts: config.attempts.max(1), failed: None, missing: HashMap::new() })
    }

    /// Registers the message's schema, or finds it registered, and answers its id.
    pub fn register(&mut self, message: MessageType) -> Result<u32, Refusal> {
        self.with_retries(|settings| {
            let schema =
                SuppliedSchema::new(Some(message.full_name()), SchemaType::Avro, message.schema().json().to_owned());
            post_schema(settings, message.subject(), schema).map(|registered| registered.id)
        })
    }

    /// The Avro schema with this id, as JSON.
    pub fn fetch(&mut self, schema_id: u32) -> Result<String, Refusal> {
        if let Some((at, detail)) = self.missing.get(&schema_id)
            && at.elapsed() < PAUSE
        {
            return Err(Refusal::Definite(detail.clone()));
        }
        let answer = self.with_retries(|settings| {
            get_schema_by_id_and_type(schema_id, settings, SchemaType::Avro).map(|registered| registered.schema)
        });
        if let Err(Refusal::Definite(detail)) = &answer {
            if self.missing.len() >= MISSING_MAX {
                self.missing.clear();
            }
            self.missing.insert(schema_id, (Instant::now(), detail.clone()));
        }
        answer
    }

    fn with_retries<T>(&mut self, call: impl Fn(&SrSettings) -> Result<T, SRCError>) -> Result<T, Refusal> {
        if let Some((at, detail)) = &self.failed
            && at.elapsed() < PAUSE
        {
            return Err(Refusal::Unavailable(detail.clone()));
        }
        let mut backoff = BACKOFF;
        let mut attempt = 1;
        loop {
            let error = match call(&self.settings) {
                Ok(value) => {
                    self.failed = None;
                    return Ok(value);
                }
                Err(error) => error,
            };
            if is_definite(&error) {
                return Err(Refusal::Definite(describe(&error)));
            }
            if attempt >= self.attempts {
                let detail = describe(&error);
                tracing::warn!(attempts = attempt, error = %detail, "schema registry is unavailable");
                self.failed = Some((Instant::now(), detail.clone()));
                return Err(Refusal::Unavailable(detail));
            }
            thread::sleep(backoff);
            backoff *= 2;
            attempt += 1;
        }
    }
}

/// True when the registry itself judged the schema: not found, incompatible, invalid, or of another kind. Everything
/// else (no connection, 5xx, 429, a proxy's page, refused credentials) says nothing of the schema.
fn is_definite(error: &SRCError) -> bool {
    match http_status(error) {
        Some(status) => matches!(status, 404 | 409 | 422),
        None => !error.retriable && error.error.starts_with("type "),
    }
}

/// The client says it only in words: `HTTP request to schema registry failed with status 404 Not Found`.
fn http_status(error: &SRCError) -> Option<u16> {
    let (_, after) = error.error.split_once("failed with status ")?;
    after.get(..3)?.parse().ok()
}

fn describe(error: &SRCError) -> String {
    match &error.cause {
        Some(cause) => format!("{}: {cause}", error.error),
        None => error.error.clone(),
    }
}

/// URLs without credentials (so that no error message shows any), and the credentials.
#[derive(Debug)]
struct Endpoints {
    first: String,
    others: Vec<String>,
    basic_auth: Option<(String, String)>,
}

impl Endpoints {
    fn parse(config: &RegistryConfig) -> Result<Self, RegistryError> {
        let mut urls = Vec::new();
        let mut basic_auth = config.basic_auth.clone();
        for text in config.url.split(',').map(str::trim).filter(|text| !text.is_empty()) {
            let mut url =
                reqwest::Url::parse(text).map_err(|error| RegistryError(format!("its URL is invalid: {error}")))?;
            if !matches!(url.scheme(), "http" | "https") {
                return Err(RegistryError("its URL is neither http nor https".to_owned()));
            }
            if !url.username().is_empty() {
                let (user, password) = (decode(url.username()), decode(url.password().unwrap_or_default()));
                basic_auth.get_or_insert((user, password));
                let cleared = url.set_username("").and_then(|()| url.set_password(None));
                cleared.map_err(|()| RegistryError("its URL has no host".to_owned()))?;
            }
            urls.push(url.as_str().trim_end_matches('/').to_owned());
        }
        let mut urls = urls.into_iter();
        let first = urls.next().ok_or_else(|| RegistryError("it has no URL".to_owned()))?;
        Ok(Self { first, others: urls.collect(), basic_auth })
    }
}

/// Undoes percent encoding.
fn decode(text: &str) -> String {
    let query = format!("http://localhost/?v={}", text.replace('+', "%2B"));
    reqwest::Url::parse(&query)
        .ok()
        .and_then(|url| url.query_pairs().next().map(|(_, value)| value.into_owned()))
        .unwrap_or_else(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_taken_out_of_the_url() {
        let config = RegistryConfig::new("https://us%40er:p%2Bw+d@registry:8081/base/, http://second/");
        let endpoints = Endpoints::parse(&config).expect("valid");
        assert_eq!(endpoints.first, "https://registry:8081/base");
        assert_eq!(endpoints.others, ["http://second"]);
        assert_eq!(endpoints.basic_auth, Some(("us@er".to_owned(), "p+w+d".to_owned())));
        assert!(!format!("{config:?}").contains("p%2B"));
    }

    #[test]
    fn a_url_that_cannot_work_is_refused_at_once() {
        for url in ["", "registry:8081", "ftp://registry", "http://"] {
            assert!(Endpoints::parse(&RegistryConfig::new(url)).is_err(), "{url:?}");
        }
    }
}
