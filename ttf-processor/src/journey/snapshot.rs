//! State → what a record says.

use std::collections::{BTreeMap, BTreeSet};

use telemetry_schemas::{
    Anomaly, BreachLevel, EventTime, JourneyStatus, Millis, StageResult,
    state::{AttemptState, Attribute, ByName, JourneyState},
};

use super::{deadlines, plan::Version, score};

/// Neighbouring milestones up to this much out of order count as simultaneous.
pub const OUT_OF_ORDER_TOLERANCE: Millis = Millis(2_000);

/// The content of a record: all of it but whose it is, its numbering and the time it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    pub journey_version: i32,
    pub status: JourneyStatus,
    pub signup_at: EventTime,
    pub completed_at: Option<EventTime>,
    pub total_ms: Option<Millis>,
    pub stages: Vec<StageResult>,
    pub current_stage: Option<String>,
    pub efficiency_score: Option<f64>,
    pub breach_level: Option<BreachLevel>,
    pub segments: BTreeMap<String, String>,
    pub experiments: BTreeMap<String, String>,
    pub release: Option<String>,
    pub cause_event_id: Option<String>,
}

/// What there is to say about an attempt; `None` while its signup is not known.
pub fn snapshot(version: &Version, user: &JourneyState, attempt: &AttemptState) -> Option<Snapshot> {
    let signup_at = attempt.milestones.get(version.start())?.at;
    let completed_at = success_at(version, attempt);
    let total_ms = total(version, attempt);
    Some(Snapshot {
        journey_version: version.version,
        status: status(version, attempt),
        signup_at,
        completed_at,
        total_ms,
        stages: stages(version, attempt),
        current_stage: current_stage(version, attempt).map(|index| version.stages[index].id.clone()),
        efficiency_score: total_ms.map(|total| score::efficiency(total, version.target)),
        breach_level: deadlines::highest_missed(version, attempt),
        segments: merged(&version.segments, &attempt.segments, &user.segments),
        experiments: merged(&version.experiments, &attempt.experiments, &user.experiments),
        release: earliest(attempt.release.as_ref(), user.release.as_ref()).map(|release| release.value.to_string()),
        cause_event_id: version
            .milestones
            .iter()
            .filter_map(|milestone| attempt.milestones.get(milestone.as_str()))
            .max()
            .map(|latest| latest.event_id.to_string()),
    })
}

/// When success was reached, by event time.
pub fn success_at(version: &Version, attempt: &AttemptState) -> Option<EventTime> {
    attempt.milestones.get(version.goal()).map(|success| success.at)
}

/// From signup to success; `None` until both are known.
pub fn total(version: &Version, attempt: &AttemptState) -> Option<Millis> {
    let signup_at = attempt.milestones.get(version.start())?.at;
    Some(never_negative(success_at(version, attempt)?.since(signup_at)))
}

/// Success counts at any time; abandonment is only a label for its absence.
pub fn status(version: &Version, attempt: &AttemptState) -> JourneyStatus {
    if success_at(version, attempt).is_some() {
        JourneyStatus::Completed
    } else if attempt.abandoned {
        JourneyStatus::Abandoned
    } else {
        JourneyStatus::InProgress
    }
}

/// Index of the stage that starts at the furthest milestone reached; `None` when completed.
pub fn current_stage(version: &Version, attempt: &AttemptState) -> Option<usize> {
    let furthest =
        version.milestones.iter().rposition(|milestone| attempt.milestones.contains_key(milestone.as_str()))?;
    (furthest < version.stages.len()).then_some(furthest)
}

/// Every stage of the journey, in order.
pub fn stages(version: &Version, attempt: &AttemptState) -> Vec<StageResult> {
    let at = |milestone: &String| attempt.milestones.get(milestone.as_str()).map(|occurrence| occurrence.at);
    let furthest = version.milestones.iter().rposition(|milestone| attempt.milestones.contains_key(milestone.as_str()));
    version
        .stages
        .iter()
        .zip(version.milestones.windows(2))
        .enumerate()
        .map(|(index, (stage, ends))| {
            let (from_at, to_at) = (at(&ends[0]), at(&ends[1]));
            let (duration_ms, anomaly) = match (from_at, to_at) {
                (Some(from), Some(to)) => {
                    let elapsed = to.since(from);
                    let out_of_order = elapsed.0 < -OUT_OF_ORDER_TOLERANCE.0;
                    (Some(never_negative(elapsed)), out_of_order.then_some(Anomaly::OutOfOrder))
                }
                // The stage starts at milestone `index`; a missing end is skipped when a later milestone is there.
                (None, _) => (None, furthest.filter(|furthest| *furthest > index).map(|_| Anomaly::Skipped)),
                (Some(_), None) => (None, furthest.filter(|furthest| *furthest > index + 1).map(|_| Anomaly::Skipped)),
            };
            StageResult {
                id: stage.id.clone(),
                from_at,
                to_at,
                duration_ms,
                target_ms: stage.target,
                met: duration_ms.map(|duration| duration <= stage.target),
                anomaly,
            }
        })
        .collect()
}

fn never_negative(duration: Millis) -> Millis {
    duration.max(Millis(0))
}

/// The value of a segment this version asks for.
pub fn segment<'a>(
    version: &Version,
    user: &'a JourneyState,
    attempt: &'a AttemptState,
    name: &str,
) -> Option<&'a str> {
    let winner = earliest(attempt.segments.get(name), user.segments.get(name))?;
    version.segments.contains(name).then_some(winner.value.as_str())
}

/// Per name the earlier of what the attempt's own events and the user's `identify` events say.
fn merged(
    names: &BTreeSet<String>,
    of_attempt: &ByName<Attribute>,
    of_user: &ByName<Attribute>,
) -> BTreeMap<String, String> {
    names
        .iter()
        .filter_map(|name| {
            let winner = earliest(of_attempt.get(name.as_str()), of_user.get(name.as_str()))?;
            Some((name.clone(), winner.value.to_string()))
        })
        .collect()
}

fn earliest<'a>(one: Option<&'a Attribute>, other: Option<&'a Attribute>) -> Option<&'a Attribute> {
    one.into_iter().chain(other).min_by_key(|attribute| (attribute.at, &attribute.event_id, &attribute.value))
}
