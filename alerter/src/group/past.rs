//! What comes too late to be told: after a replay, a backfill, a long outage. It is counted, and one summary says how much
//! it was once nothing more comes. Pure.

use std::collections::BTreeMap;

use telemetry_schemas::{
    BreachKind, BreachLevel, BreachStatus, EventTime, Millis, TtfBreach,
    alert::{AlertState, Notification},
    ids,
};

use super::decide::Reason;
use crate::route::{Labels, all_labels};

/// Nothing more comes when nothing has for so long …
const QUIET: Millis = Millis::from_secs(60);
/// … but a summary is not put off for longer than this.
const LONGEST: Millis = Millis::from_secs(6 * 3_600);

/// Name of the summary as an alert.
pub const CAUGHT_UP: &str = "TtfCaughtUp";

const FIRST_DUE: &str = "first_due_at";
const LAST_DUE: &str = "last_due_at";
const SINCE: &str = "since";

/// Counts one.
pub fn count(past: &mut AlertState, breach: &TtfBreach, now: EventTime) {
    for (name, value) in [("tenant", &breach.tenant), ("journey", &breach.journey)] {
        past.labels.insert(name.to_owned(), value.clone());
    }
    let level = breach.level.as_str();
    let number = |past: &AlertState, name: &str| past.labels.get(name).and_then(|text| text.parse::<i64>().ok());
    let count = number(past, level).unwrap_or(0) + 1;
    let first = number(past, FIRST_DUE).map_or(breach.due_at.0, |known| known.min(breach.due_at.0));
    let last = number(past, LAST_DUE).map_or(breach.due_at.0, |known| known.max(breach.due_at.0));
    let since = number(past, SINCE).unwrap_or(now.0);
    for (name, value) in [(level, count), (FIRST_DUE, first), (LAST_DUE, last), (SINCE, since)] {
        past.labels.insert(name.to_owned(), value.to_string());
    }
    past.next_flush_at = Some(now.plus(QUIET).min(EventTime(since).plus(LONGEST)));
}

/// The summary as an alert that is over, to be routed as any other.
pub fn summary(past: &AlertState, now: EventTime) -> TtfBreach {
    let number = |name: &str| past.labels.get(name).and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
    let text = |name: &str| past.labels.get(name).cloned().unwrap_or_default();
    let counts: Vec<(&str, i64)> = BreachLevel::ALL
        .into_iter()
        .map(|level| (level.as_str(), number(level.as_str())))
        .filter(|(_, count)| *count > 0)
        .collect();
    let total: i64 = counts.iter().map(|(_, count)| count).sum();
    let words: Vec<_> = counts.iter().map(|(level, count)| format!("{count} {level}")).collect();
    let (first, last) = (EventTime(number(FIRST_DUE)), EventTime(number(LAST_DUE)));
    let summary = format!(
        "Caught up: {total} missed deadlines of journey {} were found too late to be told one by one ({}), due between \
         {} and {}. Nobody was paged for them.",
        text("journey"),
        words.join(", "),
        first.to_rfc3339(),
        last.to_rfc3339(),
    );
    let mut annotations = BTreeMap::from([("summary".to_owned(), summary), ("total".to_owned(), total.to_string())]);
    annotations.extend(counts.iter().map(|(level, count)| ((*level).to_owned(), count.to_string())));
    TtfBreach {
        breach_id: format!("{}:{}", past.group_key, number(SINCE)),
        tenant: text("tenant"),
        journey: text("journey"),
        user_id: String::new(),
        attempt: String::new(),
        kind: BreachKind::Pipeline,
        level: BreachLevel::Warning,
        threshold_ms: Millis(0),
        status: BreachStatus::Resolved,
        reason: None,
        signup_at: first,
        due_at: first,
        detected_at: now,
        late: true,
        current_stage: None,
        segments: BTreeMap::new(),
        record_revision: 0,
        experiments: BTreeMap::new(),
        release: None,
        labels: BTreeMap::from([("alertname".to_owned(), CAUGHT_UP.to_owned())]),
        annotations,
    }
}

/// The one notification to each receiver the summary is routed to.
pub fn tell(
    past: &AlertState,
    summary: &TtfBreach,
    receivers: &[(String, Labels)],
    now: EventTime,
) -> Vec<Notification> {
    let notification = |(index, (receiver, labels)): (usize, &(String, Labels))| {
        let since = past.labels.get(SINCE).and_then(|text| text.parse().ok()).unwrap_or(now.0);
        let sequence = i64::try_from(index).unwrap_or(0).saturating_add(since);
        Notification {
            notification_id: ids::notification_id(&past.group_key, receiver, sequence),
            group_key: format!("ttf:{}:{}:late", summary.tenant, summary.journey),
            tenant: summary.tenant.clone(),
            journey: summary.journey.clone(),
            receiver: receiver.clone(),
            level: summary.level,
            status: summary.status,
            reason: Reason::CaughtUp.as_str().to_owned(),
            labels: labels.clone(),
            alerts: vec![summary.clone()],
            created_at: now,
            acknowledged_by: None,
            assigned_to: None,
            left_out: 0,
        }
    };
    receivers.iter().enumerate().map(notification).collect()
}

/// The labels the summary is routed by.
pub fn labels(summary: &TtfBreach) -> Labels {
    all_labels(summary)
}
