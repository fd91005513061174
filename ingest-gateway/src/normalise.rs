//! Fills in what the sender left out and corrects the client's clock.

use telemetry_schemas::{
    event::Event,
    time::{EventTime, Millis},
};

use crate::validate::{Code, ValidEvent, Violation};

/// How far event times may be from the gateway's clock.
#[derive(Debug, Clone, Copy)]
#[allow(clippy::struct_field_names, reason = "each is a maximum, under its name in the configuration")]
pub struct ClockRules {
    /// A client's clock may be off by so much before its times are corrected.
    pub max_skew: Millis,
    pub max_future: Millis,
    pub max_age: Millis,
}

/// The times of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// When it happened, by the gateway's clock.
    pub timestamp: EventTime,
    /// When it happened by the client's clock, where that was corrected.
    pub original: Option<EventTime>,
    pub sent_at: Option<EventTime>,
    pub received_at: EventTime,
}

/// Decides when an event happened. When the batch says when it was sent and that is further from `received_at` than
/// the allowed skew, the client's clock is wrong by the difference, and so is `timestamp`.
pub fn times(
    timestamp: Option<EventTime>,
    sent_at: Option<EventTime>,
    received_at: EventTime,
    rules: &ClockRules,
) -> Result<Times, Violation> {
    let Some(stated) = timestamp else {
        return Ok(Times { timestamp: received_at, original: None, sent_at, received_at });
    };
    let is_skewed = |sent_at: EventTime| received_at.since(sent_at).0.saturating_abs() > rules.max_skew.0;
    let (happened, original) = match sent_at {
        Some(sent_at) if is_skewed(sent_at) => {
            (EventTime(received_at.0.saturating_sub(sent_at.since(stated).0)), Some(stated))
        }
        _ => (stated, None),
    };
    if happened.since(received_at) > rules.max_future {
        let message = format!("is more than {} in the future", hours(rules.max_future));
        let violation = Violation::new(Code::TimestampInFuture, "/timestamp", message);
        return Err(violation.with_hint("send `sent_at` with the batch when the client's clock may be wrong"));
    }
    if received_at.since(happened) > rules.max_age {
        let message = format!("is more than {} days old", rules.max_age.0 / 86_400_000);
        return Err(Violation::new(Code::TimestampTooOld, "/timestamp", message));
    }
    Ok(Times { timestamp: happened, original, sent_at, received_at })
}

fn hours(span: Millis) -> String {
    format!("{} h", span.0 / 3_600_000)
}

/// Puts an event together. `new_id` is used when the sender gave none.
pub fn event(valid: ValidEvent, times: Times, tenant: &str, source: &str, new_id: impl FnOnce() -> String) -> Event {
    Event {
        tenant: tenant.to_owned(),
        source: source.to_owned(),
        event_id: valid.event_id.unwrap_or_else(new_id),
        event_name: valid.event_name,
        event_type: valid.event_type,
        timestamp: times.timestamp,
        original_timestamp: times.original,
        sent_at: times.sent_at,
        received_at: times.received_at,
        user_id: valid.user_id,
        anonymous_id: valid.anonymous_id,
        session_id: valid.session_id,
        journey_id: valid.journey_id,
        properties: valid.properties,
        context: valid.context,
        sealed: std::collections::BTreeMap::new(),
        replay: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;
    const NOW: EventTime = EventTime(1_000 * 24 * HOUR);
    const RULES: ClockRules =
        ClockRules { max_skew: Millis(300_000), max_future: Millis(24 * HOUR), max_age: Millis(400 * 24 * HOUR) };

    fn ago(millis: i64) -> EventTime {
        EventTime(NOW.0 - millis)
    }

    fn timestamp(stated: EventTime, sent_at: Option<EventTime>) -> Result<(EventTime, Option<EventTime>), Code> {
        times(Some(stated), sent_at, NOW, &RULES)
            .map(|times| (times.timestamp, times.original))
            .map_err(|violation| violation.code)
    }

    #[test]
    fn without_a_timestamp_it_happened_when_it_came_in() {
        let times = times(None, Some(ago(9 * HOUR)), NOW, &RULES).unwrap();
        assert_eq!((times.timestamp, times.original), (NOW, None));
    }

    #[test]
    fn a_wrong_clock_is_corrected_by_its_own_sending_time() {
        // The client's clock is two hours behind; the event was sent ten seconds after it happened.
        let (stated, sent_at) = (ago(2 * HOUR + 10_000), ago(2 * HOUR));
        assert_eq!(timestamp(stated, Some(sent_at)), Ok((ago(10_000), Some(stated))));
        // Ahead.
        let (stated, sent_at) = (ago(-48 * HOUR), ago(-48 * HOUR));
        assert_eq!(timestamp(stated, Some(sent_at)), Ok((NOW, Some(stated))));
    }

    #[test]
    fn a_small_skew_and_a_late_event_are_left_alone() {
        assert_eq!(timestamp(ago(HOUR), Some(ago(300_000))), Ok((ago(HOUR), None)));
        assert_eq!(timestamp(ago(HOUR), Some(ago(300_001))), Ok((ago(HOUR - 300_001), Some(ago(HOUR)))));
        assert_eq!(timestamp(ago(HOUR), None), Ok((ago(HOUR), None)));
    }

    #[test]
    fn the_edges_of_future_and_age_are_exact() {
        assert_eq!(timestamp(ago(-24 * HOUR), None), Ok((ago(-24 * HOUR), None)));
        assert_eq!(timestamp(ago(-24 * HOUR - 1), None), Err(Code::TimestampInFuture));
        assert_eq!(timestamp(ago(400 * 24 * HOUR), None), Ok((ago(400 * 24 * HOUR), None)));
        assert_eq!(timestamp(ago(400 * 24 * HOUR + 1), None), Err(Code::TimestampTooOld));
    }

    #[test]
    fn times_at_the_ends_of_the_calendar_do_not_overflow() {
        for extreme in [EventTime(i64::MIN), EventTime(i64::MAX)] {
            for sent_at in [None, Some(EventTime(i64::MIN)), Some(EventTime(i64::MAX))] {
                let _ = times(Some(extreme), sent_at, NOW, &RULES);
            }
        }
    }
}
