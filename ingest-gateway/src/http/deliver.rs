//! Publishes what was decided and tells the outcomes: an outcome counts only once the log has acknowledged.

use std::collections::HashMap;

use stream_runtime::log::NewRecord;

use super::{
    answer::{EventResult, Problem},
    intake::SOURCE,
    state::Gateway,
};
use crate::{
    app_metrics::AppSample,
    dedup::Identity,
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
}

/// Publishes accepted and rejected events alike, but for repeats of what was taken before.
pub async fn publish(gateway: &Gateway, tenant: &str, items: Vec<Item>) -> Vec<EventResult> {
    let mut tally = Tally::open(&gateway.judge.metrics, tenant, SOURCE, items.len());
    let mut plans = plans(gateway, &items).await;
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
    let mut fates = gateway.outlet.publish(records).await.into_iter();

    let mut all_acknowledged = true;
    let mut taken = Vec::new();
    let mut results: Vec<EventResult> = Vec::with_capacity(decided.len());
    for (index, ((event_id, problem, warning, lag, app, identity), plan)) in decided.into_iter().zip(plans).enumerate()
    {
        let fate = match plan {
            Plan::Publish => fates.next().unwrap_or(Err(Unacknowledged::Unavailable)),
            Plan::Unencoded(failure) => Err(failure),
            Plan::Repeat => {
                tally.count(Outcome::Duplicate);
                results.push(EventResult { index, event_id, status: Outcome::Duplicate, problem: None });
                continue;
            }
            Plan::RepeatOf(first) => {
                let (status, problem) = match &results[first] {
                    EventResult { status: Outcome::Accepted, .. } => (Outcome::Duplicate, None),
                    earlier => (Outcome::Retry, earlier.problem.clone()),
                };
                tally.count(status);
                results.push(EventResult { index, event_id, status, problem });
                continue;
            }
        };
        let (status, problem) = match (fate, problem) {
            (Ok(()), None) => {
                gateway.judge.metrics.lag(lag);
                if let Some(sample) = &app {
                    gateway.judge.app_metrics.observe(sample);
                }
                tally.count(Outcome::Accepted);
                taken.extend(identity);
                (Outcome::Accepted, warning)
            }
            (Ok(()), Some(problem)) => {
                tally.reject(problem.code);
                (Outcome::Rejected, Some(problem))
            }
            (Err(failure), _) => {
                all_acknowledged = false;
                tally.count(Outcome::Retry);
                (Outcome::Retry, Some(Problem::from(failure)))
            }
        };
        results.push(EventResult { index, event_id, status, problem });
    }
    gateway.log_health.observe(all_acknowledged);
    gateway.dedup.remember(&taken).await;
    results
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

/// Finds the repeats, of earlier requests and within this one.
async fn plans(gateway: &Gateway, items: &[Item]) -> Vec<Plan> {
    let mut plans: Vec<Plan> = items.iter().map(|_| Plan::Publish).collect();
    if !gateway.dedup.is_on() {
        return plans;
    }
    let mut first_at: HashMap<Identity, usize> = HashMap::new();
    let mut asked = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let Some(identity) = item.identity else { continue };
        if let Some(first) = first_at.get(&identity) {
            plans[index] = Plan::RepeatOf(*first);
        } else {
            first_at.insert(identity, index);
            asked.push((index, identity));
        }
    }
    let identities: Vec<Identity> = asked.iter().map(|(_, identity)| *identity).collect();
    let seen = gateway.dedup.seen(&identities).await;
    for ((index, _), _) in asked.iter().zip(seen).filter(|(_, seen)| *seen) {
        plans[*index] = Plan::Repeat;
    }
    // A repeat of a repeat was taken before, too.
    for index in 0..plans.len() {
        if let Plan::RepeatOf(first) = plans[index]
            && matches!(plans[first], Plan::Repeat)
        {
            plans[index] = Plan::Repeat;
        }
    }
    plans
}
