//! Which breaches are worth telling anybody.

use telemetry_schemas::{BreachLevel, BreachStatus, EventTime, Millis, TtfBreach};

/// Why a breach goes nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NotRouted {
    /// It was found too long after it was due.
    Late,
    /// It was found in time, but read long after.
    TooOld,
    /// A newer release wrote a level or status this one does not know.
    NotUnderstood,
}

impl NotRouted {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::TooOld => "too_old",
            Self::NotUnderstood => "not_understood",
        }
    }
}

/// Whether a breach is to be routed. The end of what was told is told however old it is.
pub fn admit(breach: &TtfBreach, now: EventTime, max_age: Millis) -> Result<(), NotRouted> {
    if breach.level == BreachLevel::Unknown || breach.status == BreachStatus::Unknown {
        return Err(NotRouted::NotUnderstood);
    }
    if breach.late {
        return Err(NotRouted::Late);
    }
    if breach.status == BreachStatus::Firing && now.since(breach.detected_at) > max_age {
        return Err(NotRouted::TooOld);
    }
    Ok(())
}
