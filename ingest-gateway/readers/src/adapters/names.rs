//! Names of events: from what other products' clients call them to what they are called here.

use std::collections::BTreeMap;

/// Where a name of the sender's is kept when the event is called something else here.
pub const ORIGINAL_NAME: &str = "original_event_name";

/// The longest name of an event.
const MAX_NAME: usize = 200;

/// The configured milestones by the names senders use.
#[derive(Debug, Clone, Default)]
pub struct EventNames {
    milestones: BTreeMap<String, String>,
}

/// A milestone that could not be an event's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "gateway.compatible.milestones.\"{theirs}\": `{name}` cannot be an event's name; 1 to 200 of letters, digits, _ . : $ - and spaces"
)]
pub struct InvalidMilestone {
    pub theirs: String,
    pub name: String,
}

/// What an event is called here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub name: String,
    /// It was named as a milestone by the configuration.
    pub is_milestone: bool,
}

impl EventNames {
    /// # Errors
    /// A milestone that could not be an event's name.
    pub fn compile(milestones: &BTreeMap<String, String>) -> Result<Self, InvalidMilestone> {
        for (theirs, name) in milestones {
            if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(is_allowed) {
                return Err(InvalidMilestone { theirs: theirs.clone(), name: name.clone() });
            }
        }
        Ok(Self { milestones: milestones.clone() })
    }

    /// The name of an event that its sender calls `theirs`. Characters that names do not have here become `_`: peers
    /// take any text, and an event must not be lost for an umlaut.
    pub fn name(&self, theirs: &str) -> Named {
        if let Some(milestone) = self.milestones.get(theirs) {
            return Named { name: milestone.clone(), is_milestone: true };
        }
        let name = theirs.chars().take(MAX_NAME).map(|c| if is_allowed(c) { c } else { '_' }).collect();
        Named { name, is_milestone: false }
    }
}

fn is_allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_.:$ -".contains(c)
}
