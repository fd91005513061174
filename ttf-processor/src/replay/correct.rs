//! The fresh state of a user that differs, and what is to be said about it.

use std::collections::BTreeMap;

use telemetry_schemas::{
    BreachLevel, BreachReason, BreachStatus, EventTime, JourneyStatus, TtfBreach, TtfRecord, ids, state::JourneyState,
};

use super::{
    User, compare,
    examine::{Started, started},
    recompute::Judged,
};
use crate::journey::{
    Emission, Journeys, UserState,
    emit::{self, Speech},
};

/// What puts a user right.
#[derive(Debug, Clone)]
pub struct Correction {
    /// The fresh state; `None` deletes what is kept.
    pub state: Option<UserState>,
    /// In this order.
    pub emissions: Vec<Emission>,
}

/// Makes the fresh state of a user under a higher generation, and says what it changes.
///
/// Every attempt is told anew in full. An attempt that no event bears out is taken back by a record of status
/// `erased` in its own generation, so that its number cannot be taken by one that begins later. A breach is told
/// where the last one that was emitted does not say how its level stands; one that fires is marked late, so that
/// nobody is paged.
pub fn correct(journeys: &Journeys, user: &User, judged: &Judged, now: EventTime) -> Correction {
    let mut emissions = taken_back(journeys, user, judged, now);
    let Some(recomputed) = judged.state.clone().filter(|state| !is_blank(state)) else {
        return Correction { state: None, emissions };
    };
    let mut fresh = recomputed;
    fresh.generation = UserState::generation_after(last_generation(user), now.0);
    if let Some(known) = &user.known {
        fresh.last_received_at = fresh.last_received_at.max(known.state.last_received_at);
        fresh.erased_at = fresh.erased_at.max(known.state.erased_at);
    }
    let mut told = Vec::new();
    let speech = Speech { tenant: &user.key.tenant, user_id: user.user_id(), now };
    emit::emit(journeys, speech, None, &mut fresh, &mut told);
    let attempts = started(journeys, Some(&fresh));
    for emission in told {
        match emission {
            Emission::Record(record) => emissions.push(Emission::Record(record)),
            Emission::Breach(breach) => emissions.extend(news(&attempts, user, breach)),
        }
    }
    emissions.extend(revoked(&attempts, user, fresh.generation, now));
    drop(attempts);
    // One whose time is over has spoken, and goes.
    let state = (!judged.expired).then(|| UserState::from(fresh));
    Correction { state, emissions }
}

fn is_blank(state: &JourneyState) -> bool {
    state.attempts.is_empty()
        && state.erased_at.is_none()
        && state.segments.is_empty()
        && state.experiments.is_empty()
        && state.release.is_none()
}

fn last_generation(user: &User) -> i32 {
    let known = user.known.iter().map(|known| known.state.generation);
    known.chain(user.records.iter().map(|record| record.generation)).max().unwrap_or(0)
}

fn last_emitted<'a>(user: &'a User, journey: &str, attempt: &str, level: BreachLevel) -> Option<&'a TtfBreach> {
    user.breaches.iter().find(|breach| breach.journey == journey && breach.attempt == attempt && breach.level == level)
}

/// A breach of the fresh state, when the last one emitted says something else.
fn news(attempts: &BTreeMap<(String, String), Started<'_>>, user: &User, breach: TtfBreach) -> Option<Emission> {
    let started = attempts.get(&(breach.journey.clone(), breach.attempt.clone()))?;
    let emitted = last_emitted(user, &breach.journey, &breach.attempt, breach.level);
    if compare::breach_stands(started.version, started.attempt, breach.level, emitted) {
        return None;
    }
    let late = breach.late || breach.status == BreachStatus::Firing;
    Some(Emission::Breach(TtfBreach { late, ..breach }))
}

/// The end of what was emitted for levels that turn out not to be missed.
fn revoked(
    attempts: &BTreeMap<(String, String), Started<'_>>,
    user: &User,
    generation: i32,
    now: EventTime,
) -> Vec<Emission> {
    let mut ends = Vec::new();
    for ((journey, id), started) in attempts {
        for emitted in user.breaches.iter().filter(|breach| breach.journey == *journey && breach.attempt == *id) {
            let has_level = started.attempt.deadlines.iter().any(|judged| judged.level == emitted.level);
            if has_level || compare::breach_stands(started.version, started.attempt, emitted.level, Some(emitted)) {
                continue;
            }
            let numbering = Numbering { generation, revision: started.attempt.revision };
            ends.push(Emission::Breach(numbering.end(emitted, BreachReason::Revised, now)));
        }
    }
    ends
}

/// Records and breaches of attempts that no event bears out.
fn taken_back(journeys: &Journeys, user: &User, judged: &Judged, now: EventTime) -> Vec<Emission> {
    let attempts = started(journeys, judged.state.as_ref());
    let mut emissions = Vec::new();
    for record in &user.records {
        if attempts.contains_key(&(record.journey.clone(), record.attempt.clone())) {
            continue;
        }
        let is_open = record.status != JourneyStatus::Erased;
        let numbering = Numbering { generation: record.generation, revision: record.revision + i64::from(is_open) };
        if is_open {
            emissions.push(Emission::Record(numbering.erased(record, now)));
        }
        let of_attempt =
            user.breaches.iter().filter(|breach| breach.journey == record.journey && breach.attempt == record.attempt);
        for breach in of_attempt.filter(|breach| !compare::is_over(breach)) {
            emissions.push(Emission::Breach(numbering.end(breach, BreachReason::Erased, now)));
        }
    }
    emissions
}

struct Numbering {
    generation: i32,
    revision: i64,
}

impl Numbering {
    fn erased(&self, record: &TtfRecord, now: EventTime) -> TtfRecord {
        let identity = ids::AttemptIdentity {
            tenant: &record.tenant,
            journey: &record.journey,
            user_id: &record.user_id,
            attempt: &record.attempt,
            generation: self.generation,
        };
        TtfRecord {
            record_id: ids::record_id(&identity, self.revision),
            revision: self.revision,
            generation: self.generation,
            status: JourneyStatus::Erased,
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
            emitted_at: now,
            ..record.clone()
        }
    }

    /// Ends a breach. It keeps its `late`: whoever was told of it is told that it is over, and nobody else.
    fn end(&self, breach: &TtfBreach, reason: BreachReason, now: EventTime) -> TtfBreach {
        let identity = ids::AttemptIdentity {
            tenant: &breach.tenant,
            journey: &breach.journey,
            user_id: &breach.user_id,
            attempt: &breach.attempt,
            generation: self.generation,
        };
        TtfBreach {
            breach_id: ids::breach_id(&identity, breach.level, BreachStatus::Resolved, self.revision),
            status: BreachStatus::Resolved,
            reason: Some(reason),
            detected_at: now,
            current_stage: None,
            segments: BTreeMap::new(),
            record_revision: self.revision,
            ..breach.clone()
        }
    }
}
