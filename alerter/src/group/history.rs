//! What was decided about a group, for those who ask why.

use telemetry_schemas::{EventTime, alert::AlertState, alert::Decided};

use super::decide::Reason;

/// So many entries are kept; the oldest go first.
const MAX_ENTRIES: usize = 40;
const MAX_DETAIL: usize = 300;

/// Notes a decision. The same decision again and again is one entry that is counted.
pub fn note(group: &mut AlertState, reason: Reason, told: &[String], detail: &str, now: EventTime) {
    let mut detail = detail.to_owned();
    if let Some((end, _)) = detail.char_indices().nth(MAX_DETAIL) {
        detail.truncate(end);
    }
    if let Some(last) = group.history.last_mut()
        && told.is_empty()
        && last.told.is_empty()
        && last.reason == reason.as_str()
        && last.detail == detail
    {
        last.times += 1;
        last.last_at = now;
        return;
    }
    if group.history.len() >= MAX_ENTRIES {
        group.history.remove(0);
    }
    group.history.push(Decided {
        at: now,
        last_at: now,
        times: 1,
        reason: reason.as_str().to_owned(),
        told: told.to_vec(),
        detail,
    });
}
