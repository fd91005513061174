//! An event against its tenant's plan. Messages name keys, never values.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value};

use super::config::{EventPlan, Mode, PlanConfig, PropertyPlan, ValueKind};
use crate::validate::{self, Code, Violation};

/// All plans, ready to be asked.
#[derive(Debug, Default)]
pub struct Plans(BTreeMap<String, Ready>);

#[derive(Debug)]
struct Ready {
    mode: Mode,
    events: HashMap<String, EventPlan>,
}

/// An event is not as planned.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    pub mode: Mode,
    /// Never empty.
    pub violations: Vec<Violation>,
}

/// At most so many violations of one event are told.
const MAX_VIOLATIONS: usize = 16;

impl Plans {
    pub fn new(config: &PlanConfig) -> Self {
        let ready = config.0.iter().map(|(tenant, plan)| {
            let events = plan.events.iter().map(|event| (event.name.clone(), event.clone())).collect();
            (tenant.clone(), Ready { mode: plan.mode, events })
        });
        Self(ready.collect())
    }

    /// Holds an event that meets the schema against its tenant's plan; `None` when it is as planned, or nothing is.
    pub fn judge(&self, tenant: &str, event: &Map<String, Value>) -> Option<Finding> {
        let plan = self.0.get(tenant)?;
        let text = |key: &str| event.get(key).and_then(Value::as_str).unwrap_or_default();
        let event_type = text("event_type");
        if event_type == "test" {
            return None;
        }
        let name = text("event_name");
        let violations = match plan.events.get(name) {
            Some(planned) => against(planned, event_type, event),
            // The names of the others are given by clients, not by plans.
            None if matches!(event_type, "track" | "ttf_milestone") => vec![plan.unplanned(name)],
            None => Vec::new(),
        };
        (!violations.is_empty()).then_some(Finding { mode: plan.mode, violations })
    }
}

impl Ready {
    fn unplanned(&self, name: &str) -> Violation {
        let message = format!("`{}` is not in the tracking plan", validate::bounded(name));
        let violation = Violation::new(Code::UnplannedEvent, "/event_name", message);
        let names: Vec<&str> = self.events.keys().map(String::as_str).collect();
        match validate::nearest(name, &names) {
            Some(near) => violation.with_hint(format!("did you mean `{near}`?")),
            None => violation.with_hint("plan it under plan.<tenant>.events, or leave it out"),
        }
    }
}

fn against(planned: &EventPlan, event_type: &str, event: &Map<String, Value>) -> Vec<Violation> {
    let none = Map::new();
    let properties = event.get("properties").and_then(Value::as_object).unwrap_or(&none);
    let mut violations = Vec::new();
    if !planned.types.is_empty() && !planned.types.iter().any(|kind| validate::type_name(*kind) == event_type) {
        let types: Vec<&str> = planned.types.iter().map(|kind| validate::type_name(*kind)).collect();
        let violation = Violation::new(Code::UnknownValue, "/event_type", "is not a type this event is planned with");
        violations.push(violation.with_hint(format!("planned: {}", types.join(", "))));
    }
    for (name, property) in &planned.properties {
        match found(properties, name) {
            Some(value) => violations.extend(of_property(name, property, value)),
            None if property.required => violations.push(missing(name, planned, properties)),
            None => {}
        }
    }
    if !planned.additional_properties {
        let is_planned = |name: &str| {
            planned.properties.keys().any(|planned| planned == name || planned.split('.').next() == Some(name))
        };
        let names: Vec<&str> = planned.properties.keys().map(String::as_str).collect();
        for name in properties.keys().filter(|name| !is_planned(name)) {
            let message = format!("`{}` is not a planned property of this event", validate::bounded(name));
            let violation = Violation::new(Code::AdditionalProperties, pointer(name), message);
            violations.push(match validate::nearest(name, &names) {
                Some(near) => violation.with_hint(format!("did you mean `{near}`?")),
                None => violation,
            });
        }
    }
    violations.truncate(MAX_VIOLATIONS);
    violations
}

/// A property by its name, or by its path. Null is none.
fn found<'v>(properties: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    let nested = || {
        let (first, rest) = name.split_once('.')?;
        rest.split('.').try_fold(properties.get(first)?, |value, segment| value.get(segment))
    };
    properties.get(name).or_else(nested).filter(|value| !value.is_null())
}

fn missing(name: &str, planned: &EventPlan, properties: &Map<String, Value>) -> Violation {
    let violation = Violation::new(
        Code::RequiredMissing,
        pointer(name),
        format!("`properties.{name}` is required by the tracking plan"),
    );
    let unplanned: Vec<&str> =
        properties.keys().map(String::as_str).filter(|key| !planned.properties.contains_key(*key)).collect();
    match validate::nearest(name, &unplanned) {
        Some(near) => violation.with_hint(format!("there is `{}`: is that it?", validate::bounded(near))),
        None => violation,
    }
}

fn of_property(name: &str, property: &PropertyPlan, value: &Value) -> Option<Violation> {
    if !property.kind.takes(value) {
        let message = format!("must be {}, this is {}", property.kind.name(), validate::kind(value));
        return Some(Violation::new(Code::DatatypeMismatch, pointer(name), message));
    }
    if let Some(values) = &property.values
        && !values.contains(value)
    {
        let violation = Violation::new(Code::UnknownValue, pointer(name), "is not a planned value");
        let texts: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
        let near = value.as_str().and_then(|text| validate::nearest(text, &texts));
        return Some(match near {
            Some(near) => violation.with_hint(format!("did you mean `{near}`?")),
            None => violation.with_hint(format!("planned are {} values", values.len())),
        });
    }
    let (size, what) = match (property.kind, value) {
        (ValueKind::String, Value::String(text)) => (text.chars().count() as f64, "its length "),
        (ValueKind::List, Value::Array(items)) => (items.len() as f64, "its length "),
        (_, value) => (value.as_f64()?, ""),
    };
    let too_small = property.min.filter(|min| size < *min).map(|min| format!("{what}must be at least {min}"));
    let too_large = || property.max.filter(|max| size > *max).map(|max| format!("{what}must be at most {max}"));
    too_small.or_else(too_large).map(|message| Violation::new(Code::OutOfRange, pointer(name), message))
}

fn pointer(name: &str) -> String {
    let segments: Vec<String> = name.split('.').map(validate::pointer_segment).collect();
    format!("/properties/{}", segments.join("/"))
}
