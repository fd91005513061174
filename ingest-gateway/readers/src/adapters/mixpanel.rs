//! Mixpanel's clients: events, and updates of profiles of persons and groups.
//! <https://developer.mixpanel.com/reference/track-event>, <https://developer.mixpanel.com/reference/profile-set>

use serde_json::{Map, Value};

use super::{EventNames, Translated, draft::Draft};

/// What a path takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// `/track`, `/import`.
    Events,
    /// `/engage`.
    People,
    /// `/groups`.
    Groups,
}

const EVENT_PATHS: [(&str, &str); 5] = [
    ("/event_name", "/event"),
    ("/event_id", "/properties/$insert_id"),
    ("/user_id", "/properties/distinct_id"),
    ("/anonymous_id", "/properties/$device_id"),
    ("/timestamp", "/properties/time"),
];
const PEOPLE_PATHS: [(&str, &str); 2] = [("/user_id", "/$distinct_id"), ("/timestamp", "/$time")];
const GROUP_PATHS: [(&str, &str); 2] = [("/anonymous_id", "/$group_id"), ("/timestamp", "/$time")];

/// What an update does with a profile.
const OPERATIONS: [&str; 9] =
    ["$set", "$set_once", "$add", "$increment", "$append", "$union", "$remove", "$unset", "$delete"];

/// Ids of devices are marked by this.
const DEVICE: &str = "$device:";

impl Endpoint {
    pub(super) const fn paths(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Events => &EVENT_PATHS,
            Self::People => &PEOPLE_PATHS,
            Self::Groups => &GROUP_PATHS,
        }
    }
}

/// Puts one record into the native form.
pub fn translate(record: Map<String, Value>, endpoint: Endpoint, names: &EventNames) -> Translated {
    match endpoint {
        Endpoint::Events => event(record, names),
        Endpoint::People => profile(record, "$distinct_id", "identify", names),
        Endpoint::Groups => profile(record, "$group_id", "group", names),
    }
}

fn event(mut record: Map<String, Value>, names: &EventNames) -> Translated {
    let event = record.remove("event").unwrap_or(Value::String(String::new()));
    let mut draft = Draft::default();
    draft.properties(record.remove("properties"));
    // The key of the project is nothing to keep.
    draft.take_property("token");
    let kind = match event.as_str().unwrap_or_default() {
        "$identify" | "$create_alias" | "$merge" => "identify",
        "$mp_web_page_view" => "page",
        _ => "track",
    };
    draft.named(&event, kind, names);
    let insert_id = draft.take_property("$insert_id");
    draft.id("event_id", insert_id);
    let time = draft.take_property("time");
    draft.timestamp(time);

    let distinct_id = draft.take_property("distinct_id");
    let (user_id, device_id) = (draft.take_property("$user_id"), draft.take_property("$device_id"));
    let is_device = |id: &Value| id.as_str().is_some_and(|id| id.starts_with(DEVICE)) || Some(id) == device_id.as_ref();
    match distinct_id {
        Some(id) if user_id.is_none() && is_device(&id) => {
            let bare = id.as_str().and_then(|id| id.strip_prefix(DEVICE)).map(Value::from);
            draft.id("anonymous_id", Some(bare.unwrap_or(id)));
        }
        id => draft.id("user_id", user_id.or(id)),
    }
    if !draft.has("anonymous_id") {
        draft.id("anonymous_id", device_id);
    }
    put_context(&mut draft);
    draft.finish().into()
}

fn put_context(draft: &mut Draft) {
    let (name, version) = (draft.take_property("mp_lib"), draft.take_property("$lib_version"));
    draft.library(name, version);
    for (theirs, ours) in [("ip", "ip"), ("$app_version_string", "release"), ("$browser_language", "locale")] {
        let value = draft.take_property(theirs);
        draft.context_text(ours, value);
    }
}

/// An update of a profile. What is set stands among the properties; the other operations are kept under their names.
fn profile(mut record: Map<String, Value>, id: &str, kind: &str, names: &EventNames) -> Translated {
    let mut draft = Draft::default();
    draft.named(&kind.into(), kind, names);
    let stated = record.remove(id);
    if kind == "group" {
        draft.property("group_key", record.remove("$group_key"));
        draft.property("group_id", stated.clone());
        // A group is no user; its events still go to one partition, in order.
        draft.id("anonymous_id", stated);
    } else {
        draft.id("user_id", stated);
    }
    draft.id("event_id", record.remove("$insert_id"));
    draft.timestamp(record.remove("$time"));
    draft.context_text("ip", record.remove("$ip"));
    for operation in OPERATIONS {
        match (operation, record.remove(operation)) {
            ("$set", Some(Value::Object(traits))) => {
                traits.into_iter().for_each(|(name, value)| draft.property(&name, Some(value)));
            }
            (_, value) => draft.property(operation, value),
        }
    }
    draft.finish().into()
}
