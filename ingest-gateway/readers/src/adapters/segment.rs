//! Segment's and RudderStack's clients: the tracking API's `track`, `identify`, `page`, `screen`, `group`, `alias`.
//! <https://segment.com/docs/connections/spec/common/>, <https://www.rudderstack.com/docs/api/http-api/>

use serde_json::{Map, Value};
use telemetry_schemas::time::EventTime;

use super::{EventNames, Translated, draft::Draft, lenient_time};
use crate::validate::{Code, Violation, nearest};

/// Native fields and where these clients write them.
pub(super) const PATHS: [(&str, &str); 5] = [
    ("/event_name", "/event"),
    ("/event_id", "/messageId"),
    ("/user_id", "/userId"),
    ("/anonymous_id", "/anonymousId"),
    ("/session_id", "/context/sessionId"),
];

/// What a call reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Track,
    Identify,
    Page,
    Screen,
    Group,
    Alias,
}

const KINDS: [(&str, Kind); 6] = [
    ("track", Kind::Track),
    ("identify", Kind::Identify),
    ("page", Kind::Page),
    ("screen", Kind::Screen),
    ("group", Kind::Group),
    ("alias", Kind::Alias),
];

impl Kind {
    /// The kind with this name, as in the path `/v1/track` or a record's `type`.
    pub fn named(name: &str) -> Option<Self> {
        KINDS.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Track => "track",
            Self::Identify => "identify",
            Self::Page => "page",
            Self::Screen => "screen",
            Self::Group => "group",
            Self::Alias => "alias",
        }
    }
}

/// What a request says about all its records.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// The kind of every record, by the path; in a batch each says so itself.
    pub kind: Option<Kind>,
    /// Merged into the records' own.
    pub context: Map<String, Value>,
    pub sent_at: Option<EventTime>,
}

impl Batch {
    /// Reads what stands beside the records.
    pub fn of(envelope: &mut Map<String, Value>, kind: Option<Kind>) -> Self {
        let context = match envelope.remove("context") {
            Some(Value::Object(context)) => context,
            _ => Map::new(),
        };
        Self { kind, context, sent_at: envelope.get("sentAt").and_then(lenient_time::read) }
    }
}

/// Puts one record into the native form.
pub fn translate(mut record: Map<String, Value>, batch: &Batch, names: &EventNames) -> Result<Translated, Violation> {
    let kind = match batch.kind {
        Some(kind) => kind,
        None => kind_of(&record)?,
    };
    let mut context = batch.context.clone();
    if let Some(Value::Object(own)) = record.remove("context") {
        context.extend(own);
    }
    let sent_at = record.get("sentAt").and_then(lenient_time::read).or(batch.sent_at);

    let mut draft = Draft::default();
    match kind {
        Kind::Track => {
            draft.properties(record.remove("properties"));
            draft.named(&record.remove("event").unwrap_or(Value::String(String::new())), "track", names);
        }
        Kind::Identify | Kind::Group => {
            draft.properties(record.remove("traits").or_else(|| context.remove("traits")));
            draft.property("group_id", record.remove("groupId"));
            draft.named(&kind.name().into(), kind.name(), names);
        }
        Kind::Page | Kind::Screen => {
            draft.properties(record.remove("properties"));
            draft.property("name", record.remove("name"));
            draft.property("category", record.remove("category"));
            draft.named(&kind.name().into(), "page", names);
        }
        Kind::Alias => {
            draft.property("previous_id", record.remove("previousId"));
            draft.named(&kind.name().into(), "identify", names);
        }
    }
    draft.id("event_id", record.remove("messageId"));
    draft.id("user_id", record.remove("userId"));
    draft.id("anonymous_id", record.remove("anonymousId"));
    let original = record.remove("originalTimestamp");
    draft.timestamp(record.remove("timestamp").filter(|stated| !stated.is_null()).or(original));
    put_context(&mut draft, context);
    Ok(Translated { event: draft.finish(), sent_at, source: None })
}

fn kind_of(record: &Map<String, Value>) -> Result<Kind, Violation> {
    let Some(stated) = record.get("type") else {
        let violation = Violation::new(Code::RequiredMissing, "/type", "`type` is required in a batch");
        return Err(violation.with_hint(one_of_kinds()));
    };
    let name = stated.as_str().unwrap_or_default();
    Kind::named(name).ok_or_else(|| {
        let hint = match nearest(name, &KINDS.map(|(name, _)| name)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => one_of_kinds(),
        };
        Violation::new(Code::UnknownValue, "/type", "is not a known type of call").with_hint(hint)
    })
}

fn one_of_kinds() -> String {
    format!("one of {}", KINDS.map(|(name, _)| name).join(", "))
}

/// Puts what the native form knows in its place; the rest is kept as `properties.context`.
fn put_context(draft: &mut Draft, mut context: Map<String, Value>) {
    if let Some(Value::Object(mut library)) = context.remove("library") {
        draft.library(library.remove("name"), library.remove("version"));
    }
    for (theirs, ours) in [("locale", "locale"), ("timezone", "timezone"), ("ip", "ip"), ("userAgent", "user_agent")] {
        draft.context_text(ours, context.remove(theirs));
    }
    if let Some(version) = context.get("app").and_then(|app| app.get("version")) {
        draft.context_text("release", Some(version.clone()));
    }
    draft.id("session_id", context.remove("sessionId"));
    let categories = context.get("consent").and_then(|consent| consent.get("categoryPreferences"));
    if let Some(Value::Object(categories)) = categories {
        let agreed = |names: &[&str]| {
            let mut stated = categories.iter().filter(|(name, _)| names.contains(&name.to_ascii_lowercase().as_str()));
            stated.find_map(|(_, value)| value.as_bool())
        };
        if let Some(analytics) = agreed(&["analytics", "performance"]) {
            draft.consent(analytics, agreed(&["marketing", "advertising"]).unwrap_or(false));
        }
    }
    context.retain(|_, value| !value.is_null());
    if !context.is_empty() {
        draft.property("context", Some(context.into()));
    }
}
