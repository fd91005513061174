//! Everything known of one user → a verdict.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;
use telemetry_schemas::{
    JourneyStatus, TtfBreach, TtfRecord,
    state::{AttemptState, JourneyState},
};

use super::{
    FieldDiff, Gap, Terms, User, compare,
    coverage::gap,
    recompute::{Judged, judge, same_attempt},
};
use crate::journey::{Journeys, Version, snapshot::Snapshot, snapshot::snapshot};

/// How an attempt that was emitted and the one that was recomputed stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    Equal,
    Differs,
    /// Recomputed, but never emitted.
    Missing,
    /// Emitted, but not borne out by any event, though the window has all of them.
    Extra,
}

/// What was found about one attempt; with empty `journey`, about the user as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    pub class: Class,
    pub journey: String,
    pub attempt: String,
    pub fields: Vec<FieldDiff>,
}

/// What is to be thought of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Equal,
    Differs,
    /// Not told by the window; left alone.
    Incomplete(Gap),
    /// Was written while this ran; to be looked at another time.
    Moving,
}

/// A user who was looked at.
#[derive(Debug, Clone)]
pub struct Examined {
    pub verdict: Verdict,
    /// One for each attempt that was emitted or recomputed.
    pub findings: Vec<Finding>,
    pub judged: Judged,
}

/// Holds the recomputed state against what was emitted.
pub fn examine(journeys: &Journeys, user: &User, terms: &Terms) -> Examined {
    let judged = judge(journeys, user, terms);
    let findings = Comparison { journeys, user, terms, judged: &judged }.findings();
    let verdict = if findings.iter().all(|finding| finding.class == Class::Equal) {
        Verdict::Equal
    } else if terms.moving_since.is_some_and(|since| user.last_written() >= since) {
        Verdict::Moving
    } else {
        gap(journeys, user, &judged, terms.window).map_or(Verdict::Differs, Verdict::Incomplete)
    };
    Examined { verdict, findings, judged }
}

/// Journey and attempt.
pub(super) type AttemptName = (String, String);

/// A recomputed attempt whose signup is known.
#[derive(Clone)]
pub(super) struct Started<'a> {
    pub version: &'a Version,
    pub attempt: &'a AttemptState,
    pub content: Snapshot,
}

/// The attempts of a state of which there is a record.
pub(super) fn started<'a>(
    journeys: &'a Journeys,
    state: Option<&'a JourneyState>,
) -> BTreeMap<AttemptName, Started<'a>> {
    let attempts = state.into_iter().flat_map(|state| state.attempts.iter().map(move |attempt| (state, attempt)));
    attempts
        .filter_map(|(state, attempt)| {
            let version = journeys.version(&attempt.journey, attempt.journey_version)?;
            let content = snapshot(version, state, attempt)?;
            Some((name_of(attempt), Started { version, attempt, content }))
        })
        .collect()
}

fn name_of(attempt: &AttemptState) -> AttemptName {
    (attempt.journey.to_string(), attempt.attempt.to_string())
}

struct Comparison<'a> {
    journeys: &'a Journeys,
    user: &'a User,
    terms: &'a Terms,
    judged: &'a Judged,
}

impl Comparison<'_> {
    fn findings(&self) -> Vec<Finding> {
        let expected = started(self.journeys, self.judged.state.as_ref());
        let records: BTreeMap<AttemptName, &TtfRecord> =
            self.user.records.iter().map(|record| ((record.journey.clone(), record.attempt.clone()), record)).collect();
        let with_breaches = self.user.breaches.iter().map(|breach| (breach.journey.clone(), breach.attempt.clone()));
        let names: BTreeSet<AttemptName> =
            expected.keys().cloned().chain(records.keys().cloned()).chain(with_breaches).collect();
        let mut findings: Vec<Finding> = names
            .into_iter()
            .map(|name| {
                let (class, fields) = self.attempt(&name, expected.get(&name), records.get(&name).copied());
                Finding { class, journey: name.0, attempt: name.1, fields }
            })
            .collect();
        findings.extend(self.held(&expected, &records));
        findings.extend(self.user_as_a_whole());
        findings
    }

    fn attempt(
        &self,
        name: &AttemptName,
        expected: Option<&Started<'_>>,
        record: Option<&TtfRecord>,
    ) -> (Class, Vec<FieldDiff>) {
        let breaches: Vec<&TtfBreach> =
            self.user.breaches.iter().filter(|breach| breach.journey == name.0 && breach.attempt == name.1).collect();
        let said = expected.map(|started| (started.version, started.attempt));
        let mut fields = compare::breaches(&breaches, said);
        if !self.terms.outputs_complete {
            // What is no longer in the topic was there once, if the state says so.
            fields.retain(|field| !field.emitted.is_null());
        }
        let (Some(started), Some(record)) = (expected, record) else {
            return match (expected, record) {
                (Some(started), None) => {
                    let known = self.known(name);
                    fields.extend(self.state(known, started));
                    if known.is_some_and(|known| known.revision > 0) && !self.terms.outputs_complete {
                        (class_of(&fields), fields)
                    } else {
                        (Class::Missing, fields)
                    }
                }
                (None, Some(record)) if record.status != JourneyStatus::Erased => {
                    let is_erased = self.judged.state.as_ref().is_some_and(|state| state.erased_at.is_some());
                    if is_erased {
                        fields.push(FieldDiff {
                            field: "status".to_owned(),
                            emitted: serde_json::to_value(record.status).unwrap_or_default(),
                            recomputed: "erased".into(),
                        });
                        (Class::Differs, fields)
                    } else {
                        (Class::Extra, fields)
                    }
                }
                // Erased, or taken back; or only breaches are left, which are over.
                _ => (class_of(&fields), fields),
            };
        };
        let recomputed = in_guise_of(record, started);
        fields.extend(compare::records(record, &recomputed));
        fields.extend(self.state(self.known(name), started));
        (class_of(&fields), fields)
    }

    fn known(&self, (journey, attempt): &AttemptName) -> Option<&AttemptState> {
        let known = self.user.known.as_ref()?;
        known.state.attempts.iter().find(|known| same_attempt(known, journey, attempt))
    }

    fn state(&self, known: Option<&AttemptState>, started: &Started<'_>) -> Vec<FieldDiff> {
        match known {
            Some(known) => compare::attempts(Some(started.version), known, started.attempt),
            // Without any state the user as a whole is found fault with.
            None if self.user.known.is_none() => Vec::new(),
            None => vec![presence("state.attempt", false, true)],
        }
    }

    /// Attempts whose signup is not known: there is no record of them, only state.
    fn held(
        &self,
        expected: &BTreeMap<AttemptName, Started<'_>>,
        records: &BTreeMap<AttemptName, &TtfRecord>,
    ) -> Vec<Finding> {
        let Some(known) = &self.user.known else { return Vec::new() };
        let fresh: BTreeMap<AttemptName, &AttemptState> = self
            .judged
            .state
            .iter()
            .flat_map(|state| &state.attempts)
            .map(|attempt| (name_of(attempt), attempt))
            .collect();
        let known: BTreeMap<AttemptName, &AttemptState> =
            known.state.attempts.iter().map(|attempt| (name_of(attempt), attempt)).collect();
        let names: BTreeSet<&AttemptName> = fresh.keys().chain(known.keys()).collect();
        let held = names.into_iter().filter(|name| !expected.contains_key(*name));
        held.filter_map(|name| {
            let fields = match (known.get(name), fresh.get(name)) {
                (Some(known), Some(fresh)) => compare::attempts(None, known, fresh),
                (Some(_), None) => vec![presence("state.attempt", true, false)],
                (None, Some(_)) => vec![presence("state.attempt", false, true)],
                (None, None) => Vec::new(),
            };
            // One that was emitted but is not borne out was found already.
            let is_new = !fields.is_empty() && !records.contains_key(name);
            is_new.then(|| Finding { class: Class::Differs, journey: name.0.clone(), attempt: name.1.clone(), fields })
        })
        .collect()
    }

    fn user_as_a_whole(&self) -> Option<Finding> {
        let fields = match (&self.user.known, &self.judged.state) {
            (Some(known), Some(fresh)) => compare::identity(&known.state, fresh),
            (None, Some(_)) if !self.judged.expired => vec![presence("state", false, true)],
            (Some(known), None) if known.state.attempts.is_empty() => vec![presence("state", true, false)],
            _ => Vec::new(),
        };
        let finding = Finding { class: Class::Differs, journey: String::new(), attempt: String::new(), fields };
        (!finding.fields.is_empty()).then_some(finding)
    }
}

/// What a record of this attempt must say, in the guise of the one that was emitted.
fn in_guise_of(guise: &TtfRecord, started: &Started<'_>) -> TtfRecord {
    let content = started.content.clone();
    TtfRecord {
        journey_version: content.journey_version,
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
        ..guise.clone()
    }
}

fn class_of(fields: &[FieldDiff]) -> Class {
    if fields.is_empty() { Class::Equal } else { Class::Differs }
}

fn presence(field: &str, emitted: bool, recomputed: bool) -> FieldDiff {
    let shown = |is_there: bool| if is_there { Value::from("present") } else { Value::Null };
    FieldDiff { field: field.to_owned(), emitted: shown(emitted), recomputed: shown(recomputed) }
}
