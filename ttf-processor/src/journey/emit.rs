//! The state before a transaction and after it → the records and breaches that say what changed.

use std::collections::BTreeMap;

use telemetry_schemas::{
    BreachKind, BreachLevel, BreachReason, BreachStatus, EventTime, JourneyStatus, TtfBreach, TtfRecord, ids,
    state::{AttemptState, JourneyState},
};

use super::{
    deadlines::{self, Breach, Outcome},
    plan::{Journeys, Version},
    snapshot::{Snapshot, snapshot},
};

/// Something the processor says.
#[derive(Debug, Clone, PartialEq)]
pub enum Emission {
    Record(TtfRecord),
    Breach(TtfBreach),
}

/// Whose journey it is, and when this is said.
#[derive(Debug, Clone, Copy)]
pub struct Speech<'a> {
    pub tenant: &'a str,
    pub user_id: &'a str,
    pub now: EventTime,
}

/// Compares what was committed with what is about to be, says what is new, and stamps the revisions of what it
/// said into `after`.
pub fn emit(
    journeys: &Journeys,
    speech: Speech<'_>,
    before: Option<&JourneyState>,
    after: &mut JourneyState,
    emissions: &mut Vec<Emission>,
) {
    let same_generation = before.filter(|before| before.generation == after.generation);
    if let Some(before) = before
        && same_generation.is_none()
        && after.erased_at > before.erased_at
    {
        for attempt in before.attempts.iter().filter(|attempt| attempt.revision > 0) {
            emit_erased(journeys, speech, before, attempt, emissions);
        }
    }
    let mut attempts = std::mem::take(&mut after.attempts);
    for attempt in &mut attempts {
        let before = same_generation.and_then(|user| Some((user, same_attempt(user, attempt)?)));
        if before.is_some_and(|(user, known)| known == attempt && same_told(user, after)) {
            continue;
        }
        emit_attempt(journeys, speech, before, after, attempt, emissions);
    }
    after.attempts = attempts;
}

fn same_attempt<'a>(user: &'a JourneyState, attempt: &AttemptState) -> Option<&'a AttemptState> {
    user.attempts.iter().find(|known| known.attempt == attempt.attempt && known.journey == attempt.journey)
}

/// Whether `identify` events said nothing new.
fn same_told(before: &JourneyState, after: &JourneyState) -> bool {
    before.segments == after.segments && before.experiments == after.experiments && before.release == after.release
}

fn emit_attempt(
    journeys: &Journeys,
    speech: Speech<'_>,
    before: Option<(&JourneyState, &AttemptState)>,
    user: &JourneyState,
    attempt: &mut AttemptState,
    emissions: &mut Vec<Emission>,
) {
    let Some(version) = journeys.version(&attempt.journey, attempt.journey_version) else { return };
    let Some(content) = snapshot(version, user, attempt) else { return };
    let version_before = before.and_then(|(_, known)| journeys.version(&known.journey, known.journey_version));
    let content_before =
        || before.zip(version_before).and_then(|((user, known), version)| snapshot(version, user, known));

    let changed = before.is_some_and(|(_, known)| is_moved(version, known, attempt))
        || content_before().as_ref() != Some(&content);
    if changed {
        attempt.revision += 1;
    }
    let identity = Identity { speech, attempt, generation: user.generation };
    let mut breaches = Vec::new();
    for level in BreachLevel::ALL {
        let was = before.zip(version_before).and_then(|((_, known), version)| deadlines::breach(version, known, level));
        let is = deadlines::breach(version, attempt, level);
        breaches.extend(news(was, is).map(|breach| identity.breach(breach, was.is_some(), &content)));
    }
    if changed {
        emissions.push(Emission::Record(identity.record(content)));
    }
    emissions.extend(breaches.into_iter().map(Emission::Breach));
    let firing: Vec<bool> = attempt
        .deadlines
        .iter()
        .map(|judged| {
            deadlines::breach(version, attempt, judged.level).is_some_and(|breach| breach.outcome == Outcome::Firing)
        })
        .collect();
    for (judged, firing) in attempt.deadlines.iter_mut().zip(firing) {
        judged.firing = firing;
    }
}

/// Whether a milestone has another time: then the content differs, without a closer look.
fn is_moved(version: &Version, before: &AttemptState, after: &AttemptState) -> bool {
    let at = |attempt: &AttemptState, milestone: &str| attempt.milestones.get(milestone).map(|known| known.at);
    version.milestones.iter().any(|milestone| at(before, milestone) != at(after, milestone))
}

/// What is to be said about a level that stood like this and now stands like that.
fn news(was: Option<Breach>, is: Option<Breach>) -> Option<Breach> {
    const REVISED: Outcome = Outcome::Resolved(BreachReason::Revised);
    match (was, is) {
        // A deadline that was kept after all and never said to be missed needs no words.
        (None, Some(is)) if is.outcome == REVISED => None,
        (Some(was), Some(is)) if was.outcome == REVISED && is.outcome == REVISED => None,
        (Some(was), Some(is)) if (was.outcome, was.due_at, was.threshold) == (is.outcome, is.due_at, is.threshold) => {
            None
        }
        (_, Some(is)) => Some(is),
        // An earlier signup moved the journey to a version in which this is not due, or not judged.
        (Some(was), None) if was.outcome != REVISED => Some(Breach { outcome: REVISED, ..was }),
        (_, None) => None,
    }
}

fn emit_erased(
    journeys: &Journeys,
    speech: Speech<'_>,
    user: &JourneyState,
    attempt: &AttemptState,
    emissions: &mut Vec<Emission>,
) {
    let version = journeys.version(&attempt.journey, attempt.journey_version);
    let Some(version) = version else { return };
    let Some(content) = snapshot(version, user, attempt) else { return };
    let erased = Snapshot {
        journey_version: content.journey_version,
        status: JourneyStatus::Erased,
        signup_at: content.signup_at,
        completed_at: None,
        total_ms: None,
        stages: Vec::new(),
        current_stage: None,
        efficiency_score: None,
        breach_level: None,
        segments: BTreeMap::new(),
        experiments: BTreeMap::new(),
        release: None,
        cause_event_id: None,
    };
    let attempt = &AttemptState { revision: attempt.revision + 1, ..attempt.clone() };
    let identity = Identity { speech, attempt, generation: user.generation };
    let open: Vec<TtfBreach> = BreachLevel::ALL
        .into_iter()
        .filter_map(|level| deadlines::breach(version, attempt, level))
        .filter(|breach| breach.outcome == Outcome::Firing)
        .map(|breach| Breach { outcome: Outcome::Resolved(BreachReason::Erased), ..breach })
        .map(|breach| identity.breach(breach, true, &erased))
        .collect();
    emissions.push(Emission::Record(identity.record(erased)));
    emissions.extend(open.into_iter().map(Emission::Breach));
}

/// Whose journey it is, and which state of it.
struct Identity<'a> {
    speech: Speech<'a>,
    attempt: &'a AttemptState,
    generation: i32,
}

impl Identity<'_> {
    fn of_attempt(&self) -> ids::AttemptIdentity<'_> {
        ids::AttemptIdentity {
            tenant: self.speech.tenant,
            journey: &self.attempt.journey,
            user_id: self.speech.user_id,
            attempt: &self.attempt.attempt,
            generation: self.generation,
        }
    }

    fn record(&self, content: Snapshot) -> TtfRecord {
        let Self { speech, attempt, generation } = self;
        TtfRecord {
            record_id: ids::record_id(&self.of_attempt(), attempt.revision),
            tenant: speech.tenant.to_owned(),
            journey: attempt.journey.to_string(),
            journey_version: content.journey_version,
            user_id: speech.user_id.to_owned(),
            attempt: attempt.attempt.to_string(),
            revision: attempt.revision,
            generation: *generation,
            status: content.status,
            signup_at: content.signup_at,
            completed_at: content.completed_at,
            total_ms: content.total_ms,
            stages: content.stages,
            current_stage: content.current_stage,
            efficiency_score: content.efficiency_score,
            breach_level: content.breach_level,
            segments: content.segments,
            experiments: content.experiments,
            release: content.release,
            cause_event_id: content.cause_event_id,
            emitted_at: speech.now,
        }
    }

    /// `known`: the level was judged in an earlier transaction, so what is detected now is its change.
    fn breach(&self, breach: Breach, known: bool, content: &Snapshot) -> TtfBreach {
        let Self { speech, attempt, .. } = self;
        let (status, reason) = match breach.outcome {
            Outcome::Firing => (BreachStatus::Firing, None),
            Outcome::Resolved(reason) => (BreachStatus::Resolved, Some(reason)),
        };
        TtfBreach {
            breach_id: ids::breach_id(&self.of_attempt(), breach.level, status, attempt.revision),
            tenant: speech.tenant.to_owned(),
            journey: attempt.journey.to_string(),
            user_id: speech.user_id.to_owned(),
            attempt: attempt.attempt.to_string(),
            kind: BreachKind::Deadline,
            level: breach.level,
            threshold_ms: breach.threshold,
            status,
            reason,
            signup_at: breach.signup_at,
            due_at: breach.due_at,
            detected_at: if known { speech.now } else { breach.detected_at },
            late: breach.late,
            current_stage: content.current_stage.clone(),
            segments: content.segments.clone(),
            record_revision: attempt.revision,
            experiments: content.experiments.clone(),
            release: content.release.clone(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
        }
    }
}
