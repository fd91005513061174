//! Makes the events. Seeded: the same seed and time make the same events.

use rand::{Rng, SeedableRng, rngs::SmallRng, seq::SliceRandom};
use serde_json::{Value, json};
use telemetry_schemas::EventTime;

const MINUTE: i64 = 60_000;

/// Minutes since signup, chosen so that no deadline (75, 120, 180 min) comes up while a scenario runs.
const AGES: [(i64, i64); 4] = [(1, 55), (78, 100), (123, 160), (184, 320)];

const MILESTONES: [&str; 5] =
    ["signup", "first_project_created", "first_agent_created", "first_workflow_created", "first_success"];

/// An event that must be rejected, as its bytes, with the code of its reason.
#[derive(Debug, Clone)]
pub struct Malformed {
    pub bytes: String,
    pub code: &'static str,
    /// Not JSON at all: cannot be an element of a JSON array.
    pub broken: bool,
}

/// What is sent.
pub struct Scenario {
    /// Valid events in the native JSON form, shuffled, duplicates among them.
    pub events: Vec<Value>,
    pub malformed: Vec<Malformed>,
    pub users: Vec<String>,
}

impl Scenario {
    /// `users` journeys that lie before `now_ms`; 5 % of the events twice, 2 % as many malformed ones on top.
    pub fn generate(users: usize, seed: u64, now_ms: i64) -> Self {
        Self::generate_named("user", users, seed, now_ms)
    }

    /// The same, with user ids that begin with `name`.
    pub fn generate_named(name: &str, users: usize, seed: u64, now_ms: i64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let ids: Vec<_> = (0..users).map(|number| format!("{name}_{number:04}")).collect();
        let mut events: Vec<_> = ids.iter().flat_map(|id| user(id, now_ms, &mut rng)).collect();
        let again = events.len() / 20;
        for _ in 0..again {
            let event = events[rng.random_range(0..events.len())].clone();
            events.push(event);
        }
        events.shuffle(&mut rng);
        let malformed = (0..events.len() / 50).map(|number| malformed(number, now_ms)).collect();
        Self { events, malformed, users: ids }
    }

    /// How many different events there are: duplicates share their id.
    pub fn distinct(&self) -> usize {
        self.events.iter().map(|event| event["event_id"].to_string()).collect::<std::collections::BTreeSet<_>>().len()
    }
}

fn user(id: &str, now_ms: i64, rng: &mut SmallRng) -> Vec<Value> {
    let (youngest, oldest) = AGES[rng.random_range(0..AGES.len())];
    let signup = now_ms - rng.random_range(youngest * MINUTE..oldest * MINUTE);
    let mut events = attempt(id, None, signup, now_ms, rng);
    if rng.random_bool(0.1) {
        // A second attempt, later, under a name of its own.
        let later = (now_ms - signup) / 3;
        // Only where no deadline of the second attempt comes up while the scenario runs either.
        if later < 55 * MINUTE && later > MINUTE {
            events.extend(attempt(id, Some("second"), now_ms - later, now_ms, rng));
        }
    }
    for number in 0..rng.random_range(0..3) {
        events.push(event(
            id,
            &format!("extra{number}"),
            "button_clicked",
            "track",
            signup + number * 1000,
            now_ms,
            rng,
        ));
    }
    events
}

fn attempt(id: &str, journey_id: Option<&str>, signup: i64, now_ms: i64, rng: &mut SmallRng) -> Vec<Value> {
    let reached = rng.random_range(0..=MILESTONES.len());
    let skipped = rng.random_bool(0.08).then(|| rng.random_range(1..MILESTONES.len() - 1));
    let mut at = signup;
    let mut events = Vec::new();
    for (index, name) in MILESTONES.iter().enumerate().take(reached.max(1)) {
        if index > 0 {
            // Mostly minutes; now and then the next milestone seems to come before the one it follows.
            at += if rng.random_bool(0.05) {
                -rng.random_range(500..20_000)
            } else {
                rng.random_range(1_000..40 * MINUTE)
            };
        }
        if at >= now_ms - MINUTE {
            break;
        }
        // A user whose signup never arrives has no journey.
        if Some(index) == skipped || (index == 0 && rng.random_bool(0.02)) {
            continue;
        }
        let tag = format!("{}{name}", journey_id.unwrap_or_default());
        let mut made =
            event(id, &tag, name, if rng.random_bool(0.5) { "ttf_milestone" } else { "track" }, at, now_ms, rng);
        if let Some(journey_id) = journey_id {
            made["journey_id"] = json!(journey_id);
        }
        events.push(made);
        if index == 0 && rng.random_bool(0.1) {
            // A second signup in the same attempt changes nothing.
            let mut again = event(id, &format!("{tag}again"), name, "track", at + 5_000, now_ms, rng);
            if let Some(journey_id) = journey_id {
                again["journey_id"] = json!(journey_id);
            }
            events.push(again);
        }
    }
    events
}

fn event(id: &str, tag: &str, name: &str, kind: &str, at: i64, now_ms: i64, rng: &mut SmallRng) -> Value {
    let plan = ["free", "pro"][rng.random_range(0..2)];
    json!({
        "event_id": format!("{id}:{tag}"),
        "event_name": name,
        "event_type": kind,
        "user_id": id,
        "timestamp": EventTime(at.min(now_ms)).to_rfc3339(),
        "properties": { "n": rng.random_range(0..1000), "text": "größe ✓" },
        "context": { "segments": { "plan": plan }, "release": "1.2.3" },
    })
}

/// One of the ways to be wrong, each different from every other by its number.
fn malformed(number: usize, now_ms: i64) -> Malformed {
    let at = EventTime(now_ms - MINUTE).to_rfc3339();
    let (bytes, code, broken) = match number % 7 {
        0 => (json!({ "event_id": format!("m{number}"), "event_type": "track", "user_id": "u" }).to_string(), "required_missing", false),
        1 => (
            json!({ "event_id": format!("m{number}"), "event_name": "a", "event_type": "trak", "user_id": "u" }).to_string(),
            "unknown_value",
            false,
        ),
        2 => (
            json!({ "event_id": format!("m{number}"), "event_name": "a", "event_type": "track", "user_id": "u", "colour": 1 })
                .to_string(),
            "additional_properties",
            false,
        ),
        3 => (
            json!({ "event_id": format!("m{number}"), "event_name": 7, "event_type": "track", "user_id": "u", "timestamp": at })
                .to_string(),
            "datatype_mismatch",
            false,
        ),
        4 => (
            json!({ "event_id": format!("m{number}"), "event_name": "a", "event_type": "track", "user_id": "u", "timestamp": "yesterday" })
                .to_string(),
            "timestamp_invalid",
            false,
        ),
        5 => (
            json!({ "event_id": format!("m{number}"), "event_name": "a", "event_type": "track", "user_id": "u", "timestamp": "2999-01-01T00:00:00Z" })
                .to_string(),
            "timestamp_in_future",
            false,
        ),
        _ => (format!("{{\"event_id\":\"m{number}\",\"event_name\":"), "invalid_json", true),
    };
    Malformed { bytes, code, broken }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_has_all_that_the_real_world_does() {
        let scenario = Scenario::generate(500, 1, 1_760_000_000_000);
        assert!(scenario.events.len() > 1_500, "{}", scenario.events.len());
        let duplicates = scenario.events.len() - scenario.distinct();
        assert!(duplicates * 20 >= scenario.distinct() - 20, "5 % duplicates, not {duplicates}");
        assert!(scenario.malformed.len() * 50 + 50 > scenario.events.len());
        assert!(scenario.malformed.iter().any(|malformed| malformed.broken));
    }
}
