//! Whether a tracking plan makes sense. All problems at once, each with its place in the configuration.

use std::{collections::BTreeMap, fmt};

use super::config::{EventPlan, PlanConfig, PropertyPlan, ValueKind};

/// Everything that is wrong with the section `plan`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct PlanErrors(pub Vec<PlanProblem>);

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanProblem {
    /// Such as `plan.acme.events[2].name`.
    pub path: String,
    pub message: String,
}

impl fmt::Display for PlanErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {}", problem.path, problem.message)?;
        }
        Ok(())
    }
}

/// Checks all plans.
pub fn check(plan: &PlanConfig) -> Result<(), PlanErrors> {
    let mut problems = Vec::new();
    let mut add = |path: String, message: String| problems.push(PlanProblem { path, message });
    for (tenant, plan) in &plan.0 {
        let mut named: BTreeMap<&str, usize> = BTreeMap::new();
        for (index, event) in plan.events.iter().enumerate() {
            let path = format!("plan.{tenant}.events[{index}]");
            if let Some(first) = named.insert(&event.name, index) {
                add(format!("{path}.name"), format!("`{}` is planned twice, first as events[{first}]", event.name));
            }
            check_event(event, &path, &mut add);
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(PlanErrors(problems)) }
}

fn check_event(event: &EventPlan, path: &str, add: &mut impl FnMut(String, String)) {
    if !crate::validate::is_event_name(&event.name) {
        let message = "is no name an event can have: 1 to 200 of letters, digits, `_ . : $ -` and spaces";
        add(format!("{path}.name"), message.to_owned());
    }
    for (name, property) in &event.properties {
        let path = format!("{path}.properties.{name}");
        if name.is_empty() || name.split('.').any(str::is_empty) {
            add(path.clone(), "is no name of a property, nor a path of names".to_owned());
        }
        check_property(property, &path, add);
    }
}

fn check_property(property: &PropertyPlan, path: &str, add: &mut impl FnMut(String, String)) {
    if let Some(values) = &property.values {
        if values.is_empty() {
            add(format!("{path}.values"), "is empty: no value would do".to_owned());
        }
        for (index, value) in values.iter().enumerate().filter(|(_, value)| !property.kind.takes(value)) {
            let found = crate::validate::kind(value);
            add(format!("{path}.values[{index}]"), format!("must be {}, this is {found}", property.kind.name()));
        }
    }
    let is_measured =
        matches!(property.kind, ValueKind::Number | ValueKind::Integer | ValueKind::String | ValueKind::List);
    for (bound, value) in [("min", property.min), ("max", property.max)] {
        if value.is_some() && !is_measured {
            add(format!("{path}.{bound}"), format!("{} has no size to be bounded", property.kind.name()));
        }
    }
    if let (Some(min), Some(max)) = (property.min, property.max)
        && min > max
    {
        add(format!("{path}.min"), format!("is above max ({max})"));
    }
}
