//! How the clients of other products write a request.

use std::borrow::Cow;

use axum::http::{HeaderMap, StatusCode, header};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use serde_json::{Map, Value};

use crate::{
    adapters::{Dialect, mixpanel, posthog, segment},
    batch::{self, RawEvent, Unreadable},
    http::error::ApiError,
    validate::{self, Code, Violation},
};

/// Whose client it is.
#[derive(Debug, Clone, Copy)]
pub enum Vendor {
    /// Segment and RudderStack; the kind of call where the path says it.
    Segment(Option<segment::Kind>),
    PostHog,
    Mixpanel(mixpanel::Endpoint),
}

/// Whether the events are a field of a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As `Content-Type` says.
    Said,
    Always,
}

/// A request of another product's client, without its body.
#[derive(Debug, Clone)]
pub struct Request {
    vendor: Vendor,
    /// The events are a field of a form.
    is_form: bool,
    /// `PostHog-Request-Timestamp`.
    sent_at: Option<String>,
    /// `PostHog-Sdk-Info`.
    sdk: Option<String>,
}

/// What its body holds.
pub struct Opened {
    pub records: Vec<RawEvent>,
    pub dialect: Dialect,
    /// Keys that stand in the body, the most likely first.
    pub keys: Vec<String>,
}

/// The list of records in the bodies that have one.
const LIST: &str = "batch";

/// Where clients put their key.
const KEY_FIELDS: [&str; 4] = ["writeKey", "api_key", "token", "$token"];

impl Request {
    /// # Errors
    /// A charset that is not UTF-8.
    pub fn of(vendor: Vendor, headers: &HeaderMap, form: Form) -> Result<Self, ApiError> {
        let content_type = content_type(headers);
        if let Some((_, charset)) = content_type.split_once("charset=")
            && !matches!(charset.trim_matches(['"', ' ', ';']), "utf-8" | "utf8" | "us-ascii")
        {
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return Err(ApiError::new(status, "unsupported_content_type", "only UTF-8 is taken"));
        }
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Ok(Self {
            vendor,
            is_form: form == Form::Always || content_type.starts_with("application/x-www-form-urlencoded"),
            sent_at: text("posthog-request-timestamp"),
            sdk: text("posthog-sdk-info"),
        })
    }

    /// Cuts a decoded body into records.
    ///
    /// # Errors
    /// A body that holds none, or too many.
    pub fn open(&self, body: &Bytes, max_events: usize) -> Result<Opened, Unreadable> {
        let (body, mut keys) = if self.is_form { form(body)? } else { (body.clone(), Vec::new()) };
        let mut foreign = batch::split_foreign(&body, LIST, max_events)?;
        keys.extend(keys_in(&foreign.envelope));
        if keys.is_empty()
            && let Some(first) = foreign.records.first()
            && let Ok(Value::Object(first)) = validate::json(&first.bytes)
        {
            keys.extend(keys_in(&first));
        }
        let dialect = match self.vendor {
            Vendor::Segment(kind) => Dialect::Segment(segment::Batch::of(&mut foreign.envelope, kind)),
            Vendor::PostHog => {
                let batch = posthog::Batch::of(&foreign.envelope, self.sent_at.as_deref(), self.sdk.as_deref());
                Dialect::PostHog(batch)
            }
            Vendor::Mixpanel(endpoint) => Dialect::Mixpanel(endpoint),
        };
        Ok(Opened { records: foreign.records, dialect, keys })
    }
}

/// Mixpanel answers `1` or `0` unless a client asks for words, and a server of ours always has words for JSON.
pub fn wants_text(headers: &HeaderMap, query: Option<&str>) -> bool {
    let is_verbose = query.is_some_and(is_verbose);
    let accepts_json =
        headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).is_some_and(|accept| accept.contains("json"));
    content_type(headers).starts_with("text/plain") && !is_verbose && !accepts_json
}

/// True when the query asks for an answer in words.
pub fn is_verbose(query: &str) -> bool {
    query.split('&').any(|pair| pair == "verbose=1")
}

fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().trim().to_ascii_lowercase()
}

fn keys_in(record: &Map<String, Value>) -> Vec<String> {
    let properties = record.get("properties").and_then(Value::as_object);
    let here = KEY_FIELDS.iter().filter_map(|field| record.get(*field));
    let below = properties.and_then(|properties| properties.get("token"));
    let texts = here.chain(below).filter_map(Value::as_str).filter(|key| !key.is_empty());
    texts.map(str::to_owned).collect()
}

/// The field `data` of a form, JSON as it is or in Base64, and the keys beside it.
fn form(body: &Bytes) -> Result<(Bytes, Vec<String>), Unreadable> {
    let mut data: Option<Cow<'_, str>> = None;
    let mut keys = Vec::new();
    for (name, value) in form_urlencoded::parse(body) {
        match &*name {
            "data" => data = Some(value),
            "api_key" | "token" if !value.is_empty() => keys.push(value.into_owned()),
            _ => {}
        }
    }
    let Some(data) = data else {
        let violation = Violation::new(Code::RequiredMissing, "/data", "the form has no field `data`");
        return Err(Unreadable::Malformed(violation.with_hint("data=<JSON of one event or an array>")));
    };
    let is_json = data.trim_start().starts_with(['{', '[']);
    let decoded = if is_json { None } else { BASE64.decode(data.trim().as_bytes()).ok() };
    Ok((decoded.unwrap_or_else(|| data.into_owned().into_bytes()).into(), keys))
}
