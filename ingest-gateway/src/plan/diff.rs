//! What changed between two plans. A change breaks when events that were as planned before are not any more.

use super::config::{EventPlan, PlanConfig, PropertyPlan, TenantPlan};

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// `acme: project_created.seats`
    pub place: String,
    pub what: String,
    /// Events that were as planned before are not any more.
    pub breaks: bool,
}

/// Every change, by tenant.
pub fn diff(old: &PlanConfig, new: &PlanConfig) -> Vec<Change> {
    let mut changes = Vec::new();
    for (tenant, after) in &new.0 {
        match old.0.get(tenant) {
            Some(before) => of_tenant(tenant, before, after, &mut changes),
            None => changes.push(change(tenant, "has a plan now", true)),
        }
    }
    for tenant in old.0.keys().filter(|tenant| !new.0.contains_key(*tenant)) {
        changes.push(change(tenant, "has no plan any more", false));
    }
    changes
}

fn change(place: &str, what: impl Into<String>, breaks: bool) -> Change {
    Change { place: place.to_owned(), what: what.into(), breaks }
}

fn of_tenant(tenant: &str, before: &TenantPlan, after: &TenantPlan, changes: &mut Vec<Change>) {
    if before.mode != after.mode {
        let what = format!("mode {} instead of {}", after.mode.as_str(), before.mode.as_str());
        changes.push(change(tenant, what, after.mode == super::Mode::Block));
    }
    for event in &after.events {
        let place = format!("{tenant}: {}", event.name);
        match before.events.iter().find(|earlier| earlier.name == event.name) {
            Some(earlier) => of_event(&place, earlier, event, changes),
            None => changes.push(change(&place, "is planned now", false)),
        }
    }
    for event in before.events.iter().filter(|event| !after.events.iter().any(|later| later.name == event.name)) {
        changes.push(change(&format!("{tenant}: {}", event.name), "is not planned any more", true));
    }
}

fn of_event(place: &str, before: &EventPlan, after: &EventPlan, changes: &mut Vec<Change>) {
    if before.types != after.types {
        let is_wider = after.types.is_empty()
            || (!before.types.is_empty() && before.types.iter().all(|kind| after.types.contains(kind)));
        changes.push(change(place, "other types are planned", !is_wider));
    }
    if before.additional_properties != after.additional_properties {
        let what = if after.additional_properties {
            "other properties are allowed"
        } else {
            "other properties are not allowed any more"
        };
        changes.push(change(place, what, !after.additional_properties));
    }
    for (name, property) in &after.properties {
        let place = format!("{place}.{name}");
        match before.properties.get(name) {
            Some(earlier) => of_property(&place, earlier, property, changes),
            None if property.required => changes.push(change(&place, "is required now", true)),
            None => changes.push(change(
                &place,
                "is planned now",
                before.additional_properties && *property != PropertyPlan::default(),
            )),
        }
    }
    for name in before.properties.keys().filter(|name| !after.properties.contains_key(*name)) {
        changes.push(change(&format!("{place}.{name}"), "is not planned any more", !after.additional_properties));
    }
}

fn of_property(place: &str, before: &PropertyPlan, after: &PropertyPlan, changes: &mut Vec<Change>) {
    if before.kind != after.kind {
        let what = format!("is {} instead of {}", after.kind.name(), before.kind.name());
        changes.push(change(place, what, !after.kind.includes(before.kind)));
    }
    if before.required != after.required {
        let what = if after.required { "is required now" } else { "is not required any more" };
        changes.push(change(place, what, after.required));
    }
    if before.values != after.values {
        let is_wider = match (&before.values, &after.values) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(old), Some(new)) => old.iter().all(|value| new.contains(value)),
        };
        changes.push(change(place, "other values are planned", !is_wider));
    }
    let is_tighter = after.min.is_some_and(|min| before.min.is_none_or(|old| old < min))
        || after.max.is_some_and(|max| before.max.is_none_or(|old| old > max));
    if (before.min, before.max) != (after.min, after.max) {
        changes.push(change(place, "has other bounds", is_tighter));
    }
}
