//! A tracking plan as it is written in YAML.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use telemetry_schemas::event::EventType;

/// Section `plan`: tenant → its plan. Tenants without one send what they like.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PlanConfig(pub BTreeMap<String, TenantPlan>);

/// What a tenant means to send.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantPlan {
    #[serde(default)]
    pub mode: Mode,
    pub events: Vec<EventPlan>,
}

/// What comes of an event that is not as planned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// It is counted.
    #[default]
    Observe,
    /// It is counted, and the answer says what is wrong (with `?verbose=1` for each event).
    Warn,
    /// It is rejected.
    Block,
}

impl Mode {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Warn => "warn",
            Self::Block => "block",
        }
    }
}

/// One event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventPlan {
    pub name: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Types it may have; empty means any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<EventType>,
    #[serde(default)]
    pub properties: BTreeMap<String, PropertyPlan>,
    /// Whether it may have properties that are not named here.
    #[serde(default = "yes")]
    pub additional_properties: bool,
}

const fn yes() -> bool {
    true
}

/// One property.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PropertyPlan {
    #[serde(rename = "type")]
    pub kind: ValueKind,
    pub required: bool,
    /// When set, one of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<Value>>,
    /// Of a number, or of a text's or list's length.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// What a property's value is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueKind {
    #[default]
    Any,
    String,
    Number,
    Integer,
    Boolean,
    List,
    Object,
}

impl ValueKind {
    /// With its article.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Any => "anything",
            Self::String => "a string",
            Self::Number => "a number",
            Self::Integer => "a whole number",
            Self::Boolean => "a boolean",
            Self::List => "a list",
            Self::Object => "an object",
        }
    }

    pub fn takes(self, value: &Value) -> bool {
        match self {
            Self::Any => true,
            Self::String => value.is_string(),
            Self::Number => value.is_number(),
            Self::Integer => value.as_f64().is_some_and(|number| number.fract() == 0.0),
            Self::Boolean => value.is_boolean(),
            Self::List => value.is_array(),
            Self::Object => value.is_object(),
        }
    }

    /// True when every value the other kind takes is taken by this one.
    pub fn includes(self, other: Self) -> bool {
        self == other || self == Self::Any || (self == Self::Number && other == Self::Integer)
    }
}
