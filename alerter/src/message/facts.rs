//! What the templates may say.

use std::collections::BTreeMap;

use serde::Serialize;
use telemetry_schemas::{BreachReason, BreachStatus, EventTime, Millis, TtfBreach, alert::Notification};

use super::{Naming, clip};

/// Characters of an id or a value in a text.
const MAX_VALUE: usize = 80;
/// Segments that are shown.
const MAX_SEGMENTS: usize = 12;

/// What a notification is about.
#[derive(Debug, Serialize)]
pub struct Facts {
    pub level: &'static str,
    pub status: &'static str,
    pub reason: String,
    pub tenant: String,
    pub journey: String,
    /// `4h`, when it is repeated.
    pub repeat: Option<String>,
    /// Whether only one attempt of one user can be in the group.
    pub is_personal: bool,
    /// How many are late now.
    pub late: usize,
    /// What else will be told; filled in from its own template.
    pub changes: String,
    pub people: Vec<PersonFacts>,
    #[serde(skip)]
    at: EventTime,
}

/// What is known of one user's attempt, by one breach.
#[derive(Debug, Clone, Serialize)]
pub struct PersonFacts {
    pub user: String,
    /// `None` for the default attempt.
    pub attempt: Option<String>,
    pub level: &'static str,
    pub status: &'static str,
    /// `completed`, `revised`, `erased`; `None` while firing.
    pub reason: Option<&'static str>,
    pub stage: Option<String>,
    /// How long after signup success was due.
    pub deadline: String,
    /// How long ago it was due; when resolved: how late that was known.
    pub late: String,
    /// How long ago the user signed up; when resolved: how long until that was known.
    pub since_signup: String,
    pub signed_up_at: String,
    pub due_at: String,
    /// `plan=team, channel=ads`; empty when there are none.
    pub segments: String,
}

impl Facts {
    pub fn new(notification: &Notification, naming: &Naming, repeat: Option<String>) -> Self {
        let at = notification.created_at;
        let mut facts = Self {
            level: notification.level.as_str(),
            status: notification.status.as_str(),
            reason: notification.reason.clone(),
            tenant: clip(&notification.tenant, MAX_VALUE),
            journey: clip(&notification.journey, MAX_VALUE),
            repeat,
            is_personal: ["user_id", "attempt"].iter().all(|label| notification.labels.contains_key(*label)),
            late: 0,
            changes: String::new(),
            people: Vec::new(),
            at,
        };
        facts.people = worst(&notification.alerts).into_iter().map(|breach| facts.person(breach, naming)).collect();
        facts.late = facts.people.iter().filter(|person| person.reason.is_none()).count();
        facts
    }

    /// What one breach says of its user.
    pub fn person(&self, breach: &TtfBreach, naming: &Naming) -> PersonFacts {
        let is_over = breach.status == BreachStatus::Resolved;
        let known_at = if is_over { breach.detected_at } else { self.at };
        PersonFacts {
            user: clip(&naming.user(&breach.tenant, &breach.user_id), MAX_VALUE),
            attempt: (!breach.attempt.is_empty()).then(|| clip(&breach.attempt, MAX_VALUE)),
            level: breach.level.as_str(),
            status: breach.status.as_str(),
            reason: is_over.then(|| reason(breach.reason)),
            stage: breach.current_stage.as_deref().map(|stage| clip(stage, MAX_VALUE)),
            deadline: human(breach.threshold_ms),
            late: human(known_at.since(breach.due_at)),
            since_signup: human(known_at.since(breach.signup_at)),
            signed_up_at: minute(breach.signup_at),
            due_at: minute(breach.due_at),
            segments: segments(breach),
        }
    }
}

/// One breach per user and attempt: firing before resolved, then the highest level. In the order they came.
fn worst(breaches: &[TtfBreach]) -> Vec<&TtfBreach> {
    let mut order: Vec<(&str, &str)> = Vec::new();
    let mut by_attempt: BTreeMap<(&str, &str), &TtfBreach> = BTreeMap::new();
    let weight = |breach: &TtfBreach| (breach.status == BreachStatus::Firing, breach.level);
    for breach in breaches {
        let whose = (breach.user_id.as_str(), breach.attempt.as_str());
        by_attempt
            .entry(whose)
            .and_modify(|known| {
                if weight(breach) > weight(known) {
                    *known = breach;
                }
            })
            .or_insert_with(|| {
                order.push(whose);
                breach
            });
    }
    order.into_iter().map(|whose| by_attempt[&whose]).collect()
}

fn reason(reason: Option<BreachReason>) -> &'static str {
    match reason {
        Some(BreachReason::Completed) => "completed",
        Some(BreachReason::Revised) => "revised",
        Some(BreachReason::Erased) => "erased",
        Some(BreachReason::Unknown) | None => "unknown",
    }
}

pub fn segments(breach: &TtfBreach) -> String {
    let shown = breach.segments.iter().take(MAX_SEGMENTS);
    let mut words: Vec<_> =
        shown.map(|(name, value)| format!("{}={}", clip(name, MAX_VALUE), clip(value, MAX_VALUE))).collect();
    if breach.segments.len() > MAX_SEGMENTS {
        words.push(format!("and {} more", breach.segments.len() - MAX_SEGMENTS));
    }
    words.join(", ")
}

/// `2026-01-31 09:30 UTC`.
fn minute(time: EventTime) -> String {
    let text = time.to_rfc3339();
    match (text.get(..10), text.get(11..16)) {
        (Some(day), Some(minute)) => format!("{day} {minute} UTC"),
        _ => text,
    }
}

/// The two largest units: `2h 5m`, `45s`, `3d 4h`.
fn human(duration: Millis) -> String {
    let seconds = duration.0.max(0) / 1_000;
    let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let Some(largest) = units.iter().position(|(size, _)| seconds >= *size) else { return "0s".to_owned() };
    let mut rest = seconds;
    let mut words = Vec::new();
    for (size, unit) in units.iter().skip(largest).take(2) {
        if rest / size > 0 {
            words.push(format!("{}{unit}", rest / size));
        }
        rest %= size;
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_shown_in_their_two_largest_units() {
        let cases = [
            (0, "0s"),
            (-5, "0s"),
            (45_999, "45s"),
            (60_000, "1m"),
            (4_500_000, "1h 15m"),
            (7_205_000, "2h"),
            (90_061_000, "1d 1h"),
        ];
        for (millis, text) in cases {
            assert_eq!(human(Millis(millis)), text, "{millis}");
        }
    }

    #[test]
    fn times_are_shown_to_the_minute() {
        assert_eq!(minute(EventTime(1_767_225_659_999)), "2026-01-01 00:00 UTC");
    }
}
