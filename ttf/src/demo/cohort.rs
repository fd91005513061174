//! A believable cohort: who signs up when, how fast each goes, and where some give up. Pure and seeded.

use rand::{Rng, SeedableRng, rngs::SmallRng};
use serde_json::{Value, json};

/// A milestone of the default journey, with how its users behave on the way to it.
struct Step {
    event: &'static str,
    /// Median minutes from the milestone before.
    median_minutes: f64,
    /// Share of those who reached the milestone before and never get here.
    dropout: f64,
}

/// Medians lie below the stage targets of 5, 10, 15 and 30 minutes, with long tails.
const STEPS: [Step; 4] = [
    Step { event: "first_project_created", median_minutes: 3.0, dropout: 0.08 },
    Step { event: "first_agent_created", median_minutes: 7.0, dropout: 0.10 },
    Step { event: "first_workflow_created", median_minutes: 12.0, dropout: 0.12 },
    Step { event: "first_success", median_minutes: 20.0, dropout: 0.10 },
];

/// Spread of the durations: the standard deviation of their logarithm.
const SIGMA: f64 = 0.8;

const PLANS: [(&str, f64); 3] = [("free", 1.15), ("pro", 0.9), ("enterprise", 1.0)];
const CHANNELS: [&str; 3] = ["organic", "ads", "partner"];
const MINUTE_MS: f64 = 60_000.0;

/// One simulated user.
pub struct User {
    pub id: String,
    pub signup_ms: i64,
    /// Event name and time, in order, signup first.
    pub milestones: Vec<(&'static str, i64)>,
    segments: Value,
    experiment: &'static str,
}

/// Simulates `count` signups spread over the `hours` before `now_ms`, in order of signup.
pub fn simulate(count: u32, hours: f64, now_ms: i64, seed: u64, prefix: &str) -> Vec<User> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let span_ms = hours * 60.0 * MINUTE_MS;
    let mut users: Vec<_> = (0..count)
        .map(|number| {
            let back = (rng.random::<f64>() * span_ms) as i64;
            user(format!("{prefix}_{number:05}"), now_ms - back, &mut rng)
        })
        .collect();
    users.sort_by_key(|user| user.signup_ms);
    users
}

fn user(id: String, signup_ms: i64, rng: &mut SmallRng) -> User {
    let (plan, pace) = PLANS[rng.random_range(0..PLANS.len())];
    let guided = rng.random_bool(0.5);
    let pace = pace * if guided { 0.8 } else { 1.0 };
    let mut at = signup_ms as f64;
    let mut milestones = vec![("signup", signup_ms)];
    for step in &STEPS {
        if rng.random_bool(step.dropout) {
            break;
        }
        at += step.median_minutes * pace * (SIGMA * standard_normal(rng)).exp() * MINUTE_MS;
        milestones.push((step.event, at as i64));
    }
    User {
        id,
        signup_ms,
        milestones,
        segments: json!({ "plan": plan, "channel": CHANNELS[rng.random_range(0..CHANNELS.len())] }),
        experiment: if guided { "guided" } else { "control" },
    }
}

/// Box and Muller's transform of two uniform numbers.
fn standard_normal(rng: &mut SmallRng) -> f64 {
    let u: f64 = rng.random_range(f64::MIN_POSITIVE..1.0);
    let v: f64 = rng.random();
    (-2.0 * u.ln()).sqrt() * (2.0 * std::f64::consts::PI * v).cos()
}

impl User {
    /// The user's events up to `until_ms` that come after `after_ms`, signup last: a milestone that comes before its
    /// signup is held, so that a past that arrives in pieces never looks like a missed deadline on the way.
    pub fn events(&self, after_ms: i64, until_ms: i64) -> Vec<Value> {
        self.milestones
            .iter()
            .rev()
            .filter(|(_, at)| *at > after_ms && *at <= until_ms)
            .map(|(name, at)| {
                json!({
                    "event_name": name,
                    "event_type": "ttf_milestone",
                    "event_id": format!("{}:{name}", self.id),
                    "user_id": self.id,
                    "timestamp": telemetry_schemas::EventTime(*at).to_rfc3339(),
                    "context": {
                        "library": { "name": "ttf-demo", "version": env!("CARGO_PKG_VERSION") },
                        "release": "2026.11",
                        "segments": self.segments,
                        "experiments": { "onboarding": self.experiment },
                    },
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_cohort_in_order_of_signup() {
        let now = 1_760_000_000_000;
        let (a, b) = (simulate(300, 6.0, now, 7, "x"), simulate(300, 6.0, now, 7, "x"));
        assert!(a.iter().zip(&b).all(|(a, b)| a.id == b.id && a.milestones == b.milestones));
        assert!(a.is_sorted_by_key(|user| user.signup_ms));
        assert!(a.iter().all(|user| user.signup_ms <= now && user.milestones.is_sorted_by_key(|(_, at)| *at)));
        let completed = a.iter().filter(|user| user.milestones.len() == 5).count();
        assert!((120..=250).contains(&completed), "{completed} of 300 ever complete");
    }

    #[test]
    fn signup_is_sent_last_and_the_future_is_not_sent() {
        let user = User {
            id: "u".into(),
            signup_ms: 10,
            milestones: vec![("signup", 10), ("first_project_created", 20), ("first_agent_created", 30)],
            segments: json!({}),
            experiment: "control",
        };
        let names = |events: Vec<Value>| {
            events.iter().map(|e| e["event_name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(user.events(i64::MIN, 25)), ["first_project_created", "signup"]);
        assert_eq!(names(user.events(25, 99)), ["first_agent_created"]);
    }
}
