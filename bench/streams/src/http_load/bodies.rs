//! Bodies for the gateway: made once; only the ids of their events are written anew for each request.
//!
//! An event has about 700 bytes, as a web client would send it. One in four is a milestone; one in fifty has an e-mail
//! address in a text, so that the detectors find something now and then. All of them are as the tracking plan in
//! `bench/ttfbench/gateway.py` says.

use bytes::Bytes;
use rand::{Rng, SeedableRng, rngs::SmallRng, seq::IndexedRandom};
use serde_json::{Value, json};
use telemetry_schemas::EventTime;

/// Digits of an event's number, hexadecimal, at the end of its id.
const DIGITS: usize = 12;
const MARK: &str = "-7bb0-9e3a-000000000000";
const USERS: u32 = 50_000;
const MILESTONE_SHARE: f64 = 0.25;
const EMAIL_SHARE: f64 = 0.02;

const MILESTONES: [&str; 5] =
    ["signup", "first_project_created", "first_agent_created", "first_workflow_created", "first_success"];
const OTHERS: [&str; 5] = ["docs_opened", "agent_edited", "workflow_run", "invite_sent", "search_used"];
const PLANS: [&str; 3] = ["free", "team", "enterprise"];
const COUNTRIES: [&str; 6] = ["CH", "DE", "US", "FR", "IN", "JP"];
const PAGES: [&str; 4] = ["/projects/new?step=3&from=home", "/agents/edit", "/docs/quick-start#install", "/runs/last"];
const NOTES: [&str; 4] = [
    "made from the template for customer support, with two more steps",
    "third try; the first two stopped at the import of the contacts",
    "imported from a table with 12 columns and 4711 rows",
    "asked for by the team in Zurich, planned for next week",
];

/// A body, and where the numbers of its events stand in it.
#[derive(Debug)]
pub struct Template {
    text: Vec<u8>,
    places: Vec<usize>,
}

impl Template {
    /// `run` keeps the ids of one run apart from those of another.
    fn new(events: usize, run: u32, now: EventTime, rng: &mut SmallRng) -> Self {
        let events: Vec<Value> = (0..events).map(|_| event(run, now, rng)).collect();
        let text = if let [event] = &events[..] { event.to_string() } else { json!({ "events": events }).to_string() };
        let places = text.match_indices(MARK).map(|(place, _)| place + MARK.len() - DIGITS).collect();
        Self { text: text.into_bytes(), places }
    }

    /// The body with the events numbered from `first` on.
    pub fn numbered(&self, first: u64) -> Bytes {
        let mut body = self.text.clone();
        for (number, place) in (first..).zip(&self.places) {
            for (digit, at) in (*place..*place + DIGITS).rev().enumerate() {
                body[at] = b"0123456789abcdef"[(number >> (4 * digit)) as usize & 15];
            }
        }
        body.into()
    }

    pub fn bytes(&self) -> usize {
        self.text.len()
    }
}

/// As many different bodies.
pub fn templates(count: usize, events: usize, run: u32, now: EventTime) -> Vec<Template> {
    let mut rng = SmallRng::seed_from_u64(42);
    (0..count).map(|_| Template::new(events, run, now, &mut rng)).collect()
}

fn event(run: u32, now: EventTime, rng: &mut SmallRng) -> Value {
    let is_milestone = rng.random_bool(MILESTONE_SHARE);
    let names = if is_milestone { MILESTONES } else { OTHERS };
    let user = rng.random_range(0..USERS);
    let mut note = pick(&NOTES, rng).to_owned();
    if rng.random_bool(EMAIL_SHARE) {
        note.push_str("; write to jo.doe@example.com");
    }
    let (plan, country) = (pick(&PLANS, rng), pick(&COUNTRIES, rng));
    json!({
        "event_name": pick(&names, rng),
        "event_type": if is_milestone { "ttf_milestone" } else { "track" },
        "event_id": format!("{run:08x}-7c1e{MARK}"),
        "user_id": format!("user-{user:06}"),
        "session_id": format!("s-0190f3a2{user:08x}"),
        "timestamp": EventTime(now.0 - rng.random_range(0..60_000)).to_rfc3339(),
        "properties": {
            "plan": plan,
            "source": "onboarding wizard",
            "page": format!("https://app.example.com{}", pick(&PAGES, rng)),
            "project_id": format!("prj_{:08x}", rng.random::<u32>()),
            "count": rng.random_range(0..100),
            "duration_ms": f64::from(rng.random_range(100..100_000)) / 10.0,
            "tags": ["first", "guided"],
            "note": note,
        },
        "context": {
            "library": { "name": "telemetry-python", "version": "1.4.2" },
            "locale": "de-CH",
            "ip": format!("203.0.113.{}", rng.random_range(1..255)),
            "release": "2026.11.3",
            "segments": { "plan": plan, "country": country },
        },
    })
}

fn pick<'a>(of: &[&'a str], rng: &mut SmallRng) -> &'a str {
    of.choose(rng).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn ids(body: &Bytes) -> Vec<String> {
        let body: Value = serde_json::from_slice(body).unwrap();
        let events = body["events"].as_array().cloned().unwrap_or_else(|| vec![body.clone()]);
        events.iter().map(|event| event["event_id"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn every_event_of_every_body_has_an_id_of_its_own() {
        let templates = templates(2, 100, 7, EventTime(1_000_000_000));
        let bodies = [templates[0].numbered(0), templates[1].numbered(100), templates[0].numbered(0xabc_def0)];
        let all: Vec<String> = bodies.iter().flat_map(ids).collect();
        assert_eq!(all.len(), 300);
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 300);
        assert_eq!(all[1], "00000007-7c1e-7bb0-9e3a-000000000001");
        assert_eq!(all[200], "00000007-7c1e-7bb0-9e3a-00000abcdef0");
    }

    #[test]
    fn a_single_event_stands_alone() {
        let body = templates(1, 1, 7, EventTime(1_000_000_000))[0].numbered(5);
        assert_eq!(ids(&body), ["00000007-7c1e-7bb0-9e3a-000000000005"]);
        assert!((500..1_000).contains(&body.len()), "{} bytes", body.len());
    }
}
