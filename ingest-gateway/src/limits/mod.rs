//! How much a tenant and a key may send: token buckets of events and bytes per second, and quotas of events per month.
//!
//! A request is let through or refused as a whole, after its events were counted and before any is published. Buckets are
//! shared through Redis where there is one, so that all gateways together keep to a limit; while Redis is away each
//! gateway keeps to it alone. Nothing is asked for tenants without limits.

mod bucket;
mod shared;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use parking_lot::Mutex;
use service_kit::config::RateLimits;
use telemetry_schemas::time::EventTime;

use self::{
    bucket::{Ask, Bucket, Taken},
    shared::Shared,
};
use crate::metrics::LimitMetrics;

/// A refused sender is not read from until there may be a token again, but for so long at most.
const LONGEST_BLOCK: Duration = Duration::from_secs(60);

/// What one caller may do: the limits of its tenant and of its key.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Allowance {
    /// Names the caller among those that are refused at the door.
    id: String,
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq)]
struct Rule {
    /// In the header fields: `tenant-events`, `key-bytes`.
    name: &'static str,
    id: String,
    unit: Unit,
    /// A second; 0 for a quota, which starts anew every month.
    rate: f64,
    burst: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Events,
    Bytes,
}

/// What a request weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    pub events: usize,
    pub bytes: usize,
}

/// How a caller stands after a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// Seconds until the request may come again; `None` when it was let through.
    pub retry_after: Option<u32>,
    /// The month's quota is used up, not a rate.
    pub is_quota: bool,
    policies: String,
    tightest: String,
}

impl Allowance {
    pub fn new(tenant: &str, of_tenant: &RateLimits, key: Option<(&str, &RateLimits)>) -> Self {
        const NAMES: [[&str; 3]; 2] =
            [["tenant-events", "tenant-bytes", "tenant-month"], ["key-events", "key-bytes", "key-month"]];
        /// Seconds' worth of a rate that may come at once, where nothing else is said.
        const BURST: f64 = 10.0;
        let whole = |number: NonZeroU32| f64::from(number.get());
        let mut rules = Vec::new();
        let mut add = |names: [&'static str; 3], owner: String, limits: &RateLimits| {
            let rates = [
                (limits.events_per_second.map(whole), limits.events_burst.map(whole), Unit::Events),
                (
                    limits.bytes_per_second.map(|size| size.bytes() as f64),
                    limits.bytes_burst.map(|size| size.bytes() as f64),
                    Unit::Bytes,
                ),
                (
                    limits.events_per_month.map(|_| 0.0),
                    limits.events_per_month.map(|events| events as f64),
                    Unit::Events,
                ),
            ];
            for ((rate, burst, unit), name) in rates.into_iter().zip(names) {
                let Some(rate) = rate else { continue };
                let burst = burst.unwrap_or(rate * BURST).max(1.0);
                rules.push(Rule { name, id: format!("{{{tenant}}}:{owner}:{name}"), unit, rate, burst });
            }
        };
        add(NAMES[0], String::new(), of_tenant);
        if let Some((name, limits)) = key {
            add(NAMES[1], name.to_owned(), limits);
        }
        Self { id: format!("{tenant}\u{1f}{}", key.map_or("", |(name, _)| name)), rules }
    }

    pub fn is_unlimited(&self) -> bool {
        self.rules.is_empty()
    }

    fn asks(&self, cost: Cost, now: EventTime) -> Vec<Ask> {
        let month = month_of(now);
        self.rules
            .iter()
            .map(|rule| Ask {
                id: if rule.rate > 0.0 { rule.id.clone() } else { format!("{}:{month}", rule.id) },
                rate: rule.rate,
                burst: rule.burst,
                cost: match rule.unit {
                    Unit::Events => cost.events as f64,
                    Unit::Bytes => cost.bytes as f64,
                },
            })
            .collect()
    }
}

/// The buckets of this process and, with Redis, of all; cheap to clone.
#[derive(Clone)]
pub struct Limits(Arc<Inner>);

struct Inner {
    buckets: Mutex<HashMap<String, Bucket>>,
    /// Callers that are refused before their bodies are read.
    blocked: Mutex<HashMap<String, (Instant, bool)>>,
    shared: Option<Shared>,
    started: Instant,
}

impl Limits {
    /// # Errors
    /// A Redis address that cannot be read.
    pub fn new(redis: Option<&str>, timeout: Duration, metrics: LimitMetrics) -> anyhow::Result<Self> {
        let shared = redis.map(|url| Shared::new(url, timeout, metrics)).transpose()?;
        Ok(Self(Arc::new(Inner {
            buckets: Mutex::default(),
            blocked: Mutex::default(),
            shared,
            started: Instant::now(),
        })))
    }

    /// Refuses a caller that was refused a moment ago and has no token yet, before anything is read from it.
    ///
    /// # Errors
    /// Seconds to wait, and whether it is the quota that is used up.
    pub fn at_the_door(&self, allowance: &Allowance) -> Result<(), (u32, bool)> {
        if allowance.is_unlimited() {
            return Ok(());
        }
        let now = Instant::now();
        let mut blocked = self.0.blocked.lock();
        match blocked.get(&allowance.id) {
            Some((until, is_quota)) if *until > now => Err((whole_seconds((*until - now).as_secs_f64()), *is_quota)),
            Some(_) => {
                blocked.remove(&allowance.id);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Takes what a request costs from all buckets of its caller, or nothing from any; `None` without limits.
    pub async fn take(&self, allowance: &Allowance, cost: Cost, now: EventTime) -> Option<Standing> {
        if allowance.is_unlimited() {
            return None;
        }
        let asks = allowance.asks(cost, now);
        let shared = match &self.0.shared {
            Some(shared) => shared.take(&asks).await,
            None => None,
        };
        let here = self.take_here(&asks, shared.as_ref());
        let taken = shared.unwrap_or(here);
        let standing = standing(allowance, &taken, now);
        if standing.retry_after.is_some() {
            let wait = taken.until_one_token(&asks).map_or(LONGEST_BLOCK, Duration::from_secs_f64);
            if wait > Duration::ZERO {
                let until = Instant::now() + wait.min(LONGEST_BLOCK);
                self.0.blocked.lock().insert(allowance.id.clone(), (until, standing.is_quota));
            }
        }
        Some(standing)
    }

    /// By this process's buckets. What all gateways together let through is taken from them in any case, so that they are
    /// no fresh start when Redis goes away.
    fn take_here(&self, asks: &[Ask], shared: Option<&Taken>) -> Taken {
        let at = self.0.started.elapsed().as_secs_f64();
        let mut buckets = self.0.buckets.lock();
        match shared {
            Some(Taken { refused: Some(_), .. }) => bucket::look(&mut buckets, asks, at),
            Some(_) => bucket::force(&mut buckets, asks, at),
            None => bucket::take(&mut buckets, asks, at),
        }
    }
}

fn standing(allowance: &Allowance, taken: &Taken, now: EventTime) -> Standing {
    let month_left = seconds_left_of_month(now);
    let reset = |index: usize| {
        let rule = &allowance.rules[index];
        if rule.rate > 0.0 { ((rule.burst - taken.tokens[index]) / rule.rate).max(0.0) } else { month_left }
    };
    let policy = |rule: &Rule| {
        let window = if rule.rate > 0.0 { whole_seconds(rule.burst / rule.rate) } else { 31 * 86_400 };
        let unit = if rule.unit == Unit::Bytes { ";qu=\"content-bytes\"" } else { "" };
        format!("\"{}\";q={:.0};w={window}{unit}", rule.name, rule.burst)
    };
    let share = |index: &usize| taken.tokens[*index].max(0.0) / allowance.rules[*index].burst;
    let tightest = (0..allowance.rules.len()).min_by(|a, b| share(a).total_cmp(&share(b))).unwrap_or(0);
    let shown = taken.refused.unwrap_or(tightest);
    let rule = &allowance.rules[shown];
    let remaining = taken.tokens[shown].max(0.0).floor();
    Standing {
        retry_after: taken.refused.map(|index| {
            let is_quota = allowance.rules[index].rate == 0.0;
            whole_seconds(if is_quota { month_left } else { taken.wait })
        }),
        is_quota: taken.refused.is_some_and(|index| allowance.rules[index].rate == 0.0),
        policies: allowance.rules.iter().map(policy).collect::<Vec<_>>().join(", "),
        tightest: format!("\"{}\";r={remaining:.0};t={:.0}", rule.name, reset(shown).ceil()),
    }
}

impl Standing {
    /// `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers), and `Retry-After` of a refusal.
    pub fn put_headers(&self, headers: &mut HeaderMap) {
        const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
        const LIMIT: HeaderName = HeaderName::from_static("ratelimit");
        for (name, value) in [(POLICY, &self.policies), (LIMIT, &self.tightest)] {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
    }
}

/// At least 1.
fn whole_seconds(seconds: f64) -> u32 {
    seconds.ceil().clamp(1.0, f64::from(u32::MAX)) as u32
}

/// `2026-11`, in UTC.
fn month_of(now: EventTime) -> String {
    now.to_rfc3339().chars().take(7).collect()
}

fn seconds_left_of_month(now: EventTime) -> f64 {
    let text = now.to_rfc3339();
    let number = |from: usize, to: usize| text.get(from..to).and_then(|digits| digits.parse::<u32>().ok()).unwrap_or(1);
    let (year, month) = (number(0, 4), number(5, 7));
    let (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    let next = EventTime::parse(&format!("{year:04}-{month:02}-01T00:00:00Z"));
    next.map_or(86_400.0, |next| next.since(now).0 as f64 / 1_000.0)
}
