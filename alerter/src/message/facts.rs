//! What the templates may say.

use std::collections::BTreeMap;

use serde::Serialize;
use telemetry_schemas::{BreachKind, BreachReason, BreachStatus, EventTime, Millis, TtfBreach, alert::Notification};

use super::{Naming, clip};

/// Characters of an id or a value in a text.
const MAX_VALUE: usize = 80;
/// Characters of what an alert that is no user's says.
const MAX_NOTE: usize = 400;
/// Segments that are shown.
const MAX_SEGMENTS: usize = 12;
/// Stages and segment values that are counted in a group of several.
const MAX_COUNTS: usize = 5;

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
    /// How many of them are not listed, for want of room.
    pub left_out: i64,
    /// Where those are who are listed and late now, most first.
    pub stages: Vec<Count>,
    /// `plan=team` and the like of those who are listed and late now, most first.
    pub segments: Vec<Count>,
    pub acknowledged_by: Option<String>,
    pub assigned_to: Option<String>,
    /// Where people reach this installation.
    pub external_url: Option<String>,
    /// What else will be told; filled in from its own template.
    pub changes: String,
    pub people: Vec<PersonFacts>,
    #[serde(skip)]
    at: EventTime,
}

/// How often something is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Count {
    pub name: String,
    pub count: usize,
}

/// What is known of one user's attempt, by one breach; or of an alert that is no user's.
#[derive(Debug, Clone, Serialize)]
pub struct PersonFacts {
    pub user: String,
    /// What an alert says that is no user's; `None` for a missed deadline.
    pub note: Option<String>,
    /// Where the journey is to be seen.
    pub journey_url: Option<String>,
    /// What to do about it.
    pub runbook_url: Option<String>,
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
            left_out: notification.left_out,
            stages: Vec::new(),
            segments: Vec::new(),
            acknowledged_by: notification.acknowledged_by.clone(),
            assigned_to: notification.assigned_to.clone(),
            external_url: naming.external_url.clone(),
            changes: String::new(),
            people: Vec::new(),
            at,
        };
        let worst = worst(&notification.alerts);
        facts.people = worst.iter().map(|breach| facts.person(breach, naming)).collect();
        let firing: Vec<_> = worst.into_iter().filter(|breach| breach.status == BreachStatus::Firing).collect();
        facts.late = firing.len() + usize::try_from(notification.left_out).unwrap_or_default();
        facts.stages = counts(firing.iter().filter_map(|breach| breach.current_stage.clone()));
        let segments = firing.iter().flat_map(|breach| &breach.segments);
        facts.segments = counts(segments.map(|(name, value)| format!("{name}={value}")));
        facts
    }

    /// What one breach says of its user.
    pub fn person(&self, breach: &TtfBreach, naming: &Naming) -> PersonFacts {
        let is_over = breach.status == BreachStatus::Resolved;
        let known_at = if is_over { breach.detected_at } else { self.at };
        PersonFacts {
            user: clip(&naming.user(&breach.tenant, &breach.user_id), MAX_VALUE),
            note: note(breach),
            journey_url: None,
            runbook_url: None,
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

/// What an alert that is no user's says of itself.
fn note(breach: &TtfBreach) -> Option<String> {
    if !is_nobodys(breach) {
        return None;
    }
    let said = breach.annotations.get("summary").map_or("an alert without a summary", String::as_str);
    Some(clip(said, MAX_NOTE))
}

/// Whether it is about a cohort, the product or this installation.
pub fn is_nobodys(breach: &TtfBreach) -> bool {
    matches!(breach.kind, BreachKind::Cohort | BreachKind::Application | BreachKind::Pipeline)
}

/// What alerts are told apart by in a message.
type Whose<'a> = (&'a str, &'a str, &'a BTreeMap<String, String>);

/// One breach per user and attempt: firing before resolved, then the highest level. In the order they came.
fn worst(breaches: &[TtfBreach]) -> Vec<&TtfBreach> {
    let mut order: Vec<Whose<'_>> = Vec::new();
    let mut by_attempt: BTreeMap<Whose<'_>, &TtfBreach> = BTreeMap::new();
    let weight = |breach: &TtfBreach| (breach.status == BreachStatus::Firing, breach.level);
    for breach in breaches {
        let whose = (breach.user_id.as_str(), breach.attempt.as_str(), &breach.labels);
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

/// The names that come most often.
fn counts(names: impl Iterator<Item = String>) -> Vec<Count> {
    let mut by_name: BTreeMap<String, usize> = BTreeMap::new();
    for name in names {
        *by_name.entry(name).or_default() += 1;
    }
    let mut counts: Vec<_> =
        by_name.into_iter().map(|(name, count)| Count { name: clip(&name, MAX_VALUE), count }).collect();
    // Stable: equal counts stay in the order of their names.
    counts.sort_by_key(|count| std::cmp::Reverse(count.count));
    counts.truncate(MAX_COUNTS);
    counts
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
