//! Deadlines: when they are due, whether they were missed, and what that means now.
//!
//! The state only remembers that a deadline was judged as missed. Whether that breach is open or resolved follows
//! from the milestones, so it cannot depend on the order in which they came in.

use telemetry_schemas::{
    BreachLevel, BreachReason, EventTime, Millis,
    state::{AttemptState, DeadlineState},
};

use super::{
    plan::{Deadline, Version},
    snapshot::success_at,
};

/// What a deadline that was judged as missed comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// No success yet.
    Firing,
    Resolved(BreachReason),
}

/// A judged deadline as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breach {
    pub level: BreachLevel,
    pub threshold: Millis,
    pub signup_at: EventTime,
    pub due_at: EventTime,
    pub outcome: Outcome,
    pub late: bool,
    /// When it was judged.
    pub detected_at: EventTime,
}

/// How the judged deadline of this level stands; `None` when it was not judged as missed.
pub fn breach(version: &Version, attempt: &AttemptState, level: BreachLevel) -> Option<Breach> {
    let judged = attempt.deadlines.iter().find(|judged| judged.level == level)?;
    let deadline = version.deadline(level)?;
    let signup_at = signup_at(version, attempt)?;
    let due_at = signup_at.plus(deadline.after);
    let outcome = match success_at(version, attempt) {
        None => Outcome::Firing,
        Some(success) if success > due_at => Outcome::Resolved(BreachReason::Completed),
        Some(_) => Outcome::Resolved(BreachReason::Revised),
    };
    Some(Breach {
        level,
        threshold: deadline.after,
        signup_at,
        due_at,
        outcome,
        late: judged.late,
        detected_at: judged.detected_at,
    })
}

/// The highest level missed by event time; of an open journey, the highest judged.
pub fn highest_missed(version: &Version, attempt: &AttemptState) -> Option<BreachLevel> {
    let signup_at = signup_at(version, attempt)?;
    let success_at = success_at(version, attempt);
    version
        .deadlines
        .iter()
        .rev()
        .find(|deadline| match success_at {
            Some(success) => success > signup_at.plus(deadline.after),
            None => is_judged(attempt, deadline.level),
        })
        .map(|deadline| deadline.level)
}

/// Judges what is due: everything received up to `complete_until` is known.
pub fn judge(version: &Version, attempt: &mut AttemptState, complete_until: EventTime, now: EventTime) {
    let judged: Vec<DeadlineState> = unjudged(version, attempt)
        .filter(|(_, due_at)| due_at.plus(version.grace) <= complete_until)
        .map(|(deadline, due_at)| DeadlineState {
            level: deadline.level,
            firing: false,
            late: now.since(due_at) > version.max_alert_lateness,
            detected_at: now,
        })
        .collect();
    attempt.deadlines.extend(judged);
}

/// When the next deadline of this attempt can be judged.
pub fn next_due(version: &Version, attempt: &AttemptState) -> Option<EventTime> {
    unjudged(version, attempt).map(|(_, due_at)| due_at.plus(version.grace)).min()
}

/// Deadlines that, by what is known, success did not come in time for, and that were not judged yet.
fn unjudged<'a>(
    version: &'a Version,
    attempt: &'a AttemptState,
) -> impl Iterator<Item = (&'a Deadline, EventTime)> + 'a {
    let signup_at = signup_at(version, attempt);
    let success_at = success_at(version, attempt);
    version
        .deadlines
        .iter()
        .filter_map(move |deadline| signup_at.map(|signup| (deadline, signup.plus(deadline.after))))
        .filter(move |(_, due_at)| success_at.is_none_or(|success| success > *due_at))
        .filter(|(deadline, _)| !is_judged(attempt, deadline.level))
}

fn is_judged(attempt: &AttemptState, level: BreachLevel) -> bool {
    attempt.deadlines.iter().any(|judged| judged.level == level)
}

fn signup_at(version: &Version, attempt: &AttemptState) -> Option<EventTime> {
    attempt.milestones.get(version.start()).map(|signup| signup.at)
}
