//! Publishes what was decided and tells the outcomes: an outcome counts only once the log has acknowledged.

use std::collections::{HashMap, hash_map::Entry};

use stream_runtime::log::NewRecord;

use super::{
    answer::{EventResult, Problem},
    intake::SOURCE,
    state::Gateway,
};
use crate::{
    app_metrics::AppSample,
    dedup::{
        Identity,
        under_way::{Claims, Elsewhere},
    },
    in_flight::Reservation,
    limits::Standing,
    outcome::{Outcome, Tally},
    publish::Unacknowledged,
};

/// An event that was decided about.
pub struct Item {
    pub event_id: Option<String>,
    /// Why it is rejected; `None` when it is accepted.
    pub problem: Option<Problem>,
    /// How an accepted event is not as planned.
    pub warning: Option<Problem>,
    /// Milliseconds between the event and its arrival.
    pub lag: i64,
    /// What an accepted event tells of its product.
    pub app: Option<AppSample>,
    /// By what a repeat of an accepted event is recognised; `None` when it came without an id.
    pub identity: Option<Identity>,
    pub record: Result<NewRecord, Unacknowledged>,
}

/// What is to come of one event.
enum Plan {
    /// Its record is the next one published.
    Publish,
    Unencoded(Unacknowledged),
    /// Taken before.
    Repeat,
    /// The same as an earlier event of this request, by its place.
    RepeatOf(usize),
    /// Another request publishes it at this moment.
    Elsewhere(Elsewhere),
}

/// Publishes accepted and rejected events alike, but for repeats of what was taken before.
///
/// `reservation` is what the request holds of the bytes in flight, until the log has let go of its records.
pub async fn publish(gateway: &Gateway, tenant: &str, items: Vec<Item>, reservation: Reservation) -> Vec<EventResult> {
    let mut tally = Tally::open(&gateway.judge.metrics, tenant, SOURCE, items.len());
    let (mut plans, claims) = plans(gateway, &items).await;
    let mut records = Vec::with_capacity(items.len());
    let mut decided = Vec::with_capacity(items.len());
    for (item, plan) in items.into_iter().zip(&mut plans) {
        match item.record {
            Ok(record) if matches!(plan, Plan::Publish) => records.push(record),
            Err(failure) if matches!(plan, Plan::Publish) => *plan = Plan::Unencoded(failure),
            _ => {}
        }
        decided.push((item.event_id, item.problem, item.warning, item.lag, item.app, item.identity));
    }
    let mut fates = gateway.outlet.publish(records, reservation).await.into_iter();

    let mut all_acknowledged = true;
    let mut taken = Vec::new();
    let mut taken_at = Vec::new();
    let mut elsewhere = Vec::new();
    let mut repeats = Vec::new();
    let mut results: Vec<EventResult> = Vec::with_capacity(decided.len());
    for (index, ((event_id, problem, warning, lag, app, identity), plan)) in decided.into_iter().zip(plans).enumerate()
    {
        let fate = match plan {
            Plan::Publish => fates.next().unwrap_or(Err(Unacknowledged::Unavailable)),
            Plan::Unencoded(failure) => Err(failure),
            Plan::Repeat => {
                results.push(EventResult { index, event_id, status: Outcome::Duplicate, problem: None });
                continue;
            }
            Plan::RepeatOf(first) => {
                repeats.push((index, first));
                results.push(unsettled(index, event_id));
                continue;
            }
            Plan::Elsewhere(other) => {
                elsewhere.extend(identity.map(|identity| (index, identity, other)));
                results.push(unsettled(index, event_id));
                continue;
            }
        };
        let (status, problem) = match (fate, problem) {
            (Ok(()), None) => {
                gateway.judge.metrics.lag(lag);
                if let Some(sample) = &app {
                    gateway.judge.app_metrics.observe(sample);
                }
                if let Some(identity) = identity {
                    taken.push(identity);
                    taken_at.push(index);
                }
                (Outcome::Accepted, warning)
            }
            (Ok(()), Some(problem)) => (Outcome::Rejected, Some(problem)),
            (Err(failure), _) => {
                all_acknowledged = false;
                (Outcome::Retry, Some(Problem::from(failure)))
            }
        };
        results.push(EventResult { index, event_id, status, problem });
    }
    gateway.log_health.observe(all_acknowledged);
    let were_others_first = gateway.dedup.remember(&taken).await;
    for (index, _) in taken_at.into_iter().zip(were_others_first).filter(|(_, was_other_first)| *was_other_first) {
        results[index].status = Outcome::Duplicate;
    }
    // Who waits for this request is let go before this request waits for others.
    drop(claims);
    settle(gateway, elsewhere, repeats, &mut results).await;
    for result in &results {
        match (&result.status, &result.problem) {
            (Outcome::Rejected, Some(problem)) => tally.reject(problem.code),
            (status, _) => tally.count(*status),
        }
    }
    results
}

/// What is told of an event until it is known what became of its other one.
fn unsettled(index: usize, event_id: Option<String>) -> EventResult {
    let problem = Problem {
        code: "first_not_acknowledged",
        path: String::new(),
        message: "the same event is on its way already, and was not acknowledged".to_owned(),
        hint: Some("send the same event again, with the same event_id".to_owned()),
    };
    EventResult { index, event_id, status: Outcome::Retry, problem: Some(problem) }
}

/// Finds out what became of events that other requests, and others of this one, stand for.
async fn settle(
    gateway: &Gateway,
    elsewhere: Vec<(usize, Identity, Elsewhere)>,
    repeats: Vec<(usize, usize)>,
    results: &mut [EventResult],
) {
    if !elsewhere.is_empty() {
        let mut asked = Vec::with_capacity(elsewhere.len());
        let mut identities = Vec::with_capacity(elsewhere.len());
        for (index, identity, other) in elsewhere {
            other.ended().await;
            asked.push(index);
            identities.push(identity);
        }
        let seen = gateway.dedup.seen(&identities).await;
        for (index, _) in asked.into_iter().zip(seen).filter(|(_, seen)| *seen) {
            results[index].status = Outcome::Duplicate;
            results[index].problem = None;
        }
    }
    for (index, first) in repeats {
        let (status, problem) = match &results[first] {
            EventResult { status: Outcome::Accepted | Outcome::Duplicate, .. } => (Outcome::Duplicate, None),
            earlier => (Outcome::Retry, earlier.problem.clone()),
        };
        results[index].status = status;
        results[index].problem = problem;
    }
}

/// Refuses a whole request that is over a limit: nothing of it is published.
pub fn limited(gateway: &Gateway, tenant: &str, items: Vec<Item>, standing: &Standing) -> Vec<EventResult> {
    let mut tally = Tally::open(&gateway.judge.metrics, tenant, SOURCE, items.len());
    let (code, message) = over_the_limit(standing.is_quota);
    let problem = Problem {
        code,
        path: String::new(),
        message: message.to_owned(),
        hint: Some("send the same events again after Retry-After seconds; RateLimit-Policy has the limits".to_owned()),
    };
    let refuse = |(index, item): (usize, Item)| {
        tally.count(Outcome::Limited);
        EventResult { index, event_id: item.event_id, status: Outcome::Limited, problem: Some(problem.clone()) }
    };
    items.into_iter().enumerate().map(refuse).collect()
}

/// Code and message for a caller that is over a limit.
pub const fn over_the_limit(is_quota: bool) -> (&'static str, &'static str) {
    if is_quota {
        ("quota_exhausted", "the month's quota of events is used up")
    } else {
        ("rate_limited", "more than the tenant or the key may send")
    }
}

/// Finds the repeats, of earlier requests, of others under way, and within this one. What is to be published is this
/// request's to publish until the claims are dropped.
async fn plans(gateway: &Gateway, items: &[Item]) -> (Vec<Plan>, Option<Claims>) {
    let mut plans: Vec<Plan> = items.iter().map(|_| Plan::Publish).collect();
    if !gateway.dedup.is_on() {
        return (plans, None);
    }
    let mut first_at: HashMap<Identity, usize> = HashMap::new();
    let mut asked = Vec::with_capacity(items.len());
    let mut identities = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let Some(identity) = item.identity else { continue };
        // One event alone repeats none of its request.
        if items.len() > 1 {
            match first_at.entry(identity) {
                Entry::Occupied(first) => {
                    plans[index] = Plan::RepeatOf(*first.get());
                    continue;
                }
                Entry::Vacant(new) => drop(new.insert(index)),
            }
        }
        asked.push(index);
        identities.push(identity);
    }
    if identities.is_empty() {
        return (plans, None);
    }
    // Claimed first: what another request settles in between is seen then.
    let (claims, elsewhere) = gateway.dedup.under_way.claim(&identities);
    let seen = gateway.dedup.seen(&identities).await;
    for ((index, seen), elsewhere) in asked.into_iter().zip(seen).zip(elsewhere) {
        if seen {
            plans[index] = Plan::Repeat;
        } else if let Some(elsewhere) = elsewhere {
            plans[index] = Plan::Elsewhere(elsewhere);
        }
    }
    (plans, Some(claims))
}
