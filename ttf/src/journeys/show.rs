//! Which versions are in force, which come next, which are still needed. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use comfy_table::{ContentArrangement, Table, presets::NOTHING};
use serde::Serialize;
use telemetry_schemas::EventTime;
use ttf_processor::JourneyDefinition;

use crate::top::Page;

/// How a version stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Signups of now belong to it.
    InForce,
    /// Signups of a time to come will.
    ToCome,
    /// Another version has followed; journeys that signed up before belong to it.
    Superseded,
    /// A process has it, this configuration has not.
    NotConfigured,
    /// There are journeys of it and no process that answered has it.
    NotLoaded,
}

impl State {
    const fn words(self) -> &'static str {
        match self {
            Self::InForce => "in force",
            Self::ToCome => "to come",
            Self::Superseded => "superseded",
            Self::NotConfigured => "not in this configuration",
            Self::NotLoaded => "not loaded",
        }
    }
}

/// One version of one journey.
#[derive(Debug, Serialize)]
pub struct Row {
    pub journey: String,
    /// `unknown`: of journeys whose version nobody remembers.
    pub version: String,
    pub state: State,
    /// Signups from this instant on; `None`: all before the next version.
    pub effective_from: Option<String>,
    /// Journeys in progress, or resting where it is not loaded; `None` when no processor answered.
    pub open_journeys: Option<u64>,
    /// Processors that have it loaded.
    pub loaded_by: usize,
    pub note: String,
}

#[derive(Debug, Serialize)]
pub struct Shown {
    pub at: String,
    pub processors: usize,
    pub journeys: Vec<Row>,
    pub problems: Vec<String>,
}

/// The metric that names each version a process has loaded.
const LOADED: &str = "ttf_journey_effective_from_timestamp_seconds";
const OPEN: &str = "ttf_journeys_open";
const RESTING: &str = "ttf_journeys_resting";

type Id = (String, String);

/// What one page says of the versions.
#[derive(Default)]
struct Told {
    /// Version → effective from, in milliseconds, and by how many processes it is loaded so.
    loaded: BTreeMap<Id, Vec<i64>>,
    open: BTreeMap<Id, u64>,
    resting: BTreeMap<Id, u64>,
    processors: usize,
}

impl Told {
    fn of(pages: &BTreeMap<String, Page>) -> Self {
        let mut told = Self::default();
        let mut workers: BTreeSet<String> = BTreeSet::new();
        for page in pages.values() {
            let of_page: BTreeSet<String> = page
                .named("ttf_processor_open_transaction_age_seconds")
                .map(|sample| sample.label("worker").to_owned())
                .collect();
            // No processor, or one that was asked by another of its addresses.
            if of_page.is_empty() || !of_page.is_disjoint(&workers) {
                continue;
            }
            workers.extend(of_page);
            told.processors += 1;
            for sample in page.named(LOADED) {
                told.loaded.entry(id(sample)).or_default().push((sample.value * 1_000.0).round() as i64);
            }
            for sample in page.named(OPEN) {
                *told.open.entry(id(sample)).or_default() += sample.value as u64;
            }
            for sample in page.named(RESTING).filter(|sample| sample.value > 0.0) {
                *told.resting.entry(id(sample)).or_default() += sample.value as u64;
            }
        }
        told
    }
}

fn id(sample: &crate::top::Sample) -> Id {
    (sample.label("journey").to_owned(), sample.label("version").to_owned())
}

pub fn shown(definitions: &[JourneyDefinition], pages: &BTreeMap<String, Page>, now: EventTime) -> Shown {
    let told = Told::of(pages);
    let mut shown =
        Shown { at: now.to_rfc3339(), processors: told.processors, journeys: Vec::new(), problems: Vec::new() };
    let mut sorted: Vec<&JourneyDefinition> = definitions.iter().collect();
    sorted.sort_by(|a, b| (&a.id, a.version).cmp(&(&b.id, b.version)));
    let mut left = told.loaded.clone();
    for (index, definition) in sorted.iter().enumerate() {
        let id = (definition.id.clone(), definition.version.to_string());
        let same_journey = |other: &&&JourneyDefinition| other.id == definition.id;
        let is_first = !sorted[..index].iter().any(|other| same_journey(&other));
        let next_from = sorted.get(index + 1).filter(same_journey).and_then(|next| next.effective_from);
        let from = definition.effective_from.filter(|_| !is_first);
        let state = match (from, next_from) {
            (Some(from), _) if from > now => State::ToCome,
            (_, Some(next)) if next <= now => State::Superseded,
            _ => State::InForce,
        };
        let loaded = left.remove(&id).unwrap_or_default();
        let open = told.open.get(&id).copied().or((told.processors > 0).then_some(0));
        // Where nobody has it, its journeys rest.
        let open = told.resting.get(&id).map_or(open, |resting| Some(open.unwrap_or(0) + resting));
        let row = Row {
            journey: id.0,
            version: id.1,
            state,
            effective_from: from.map(EventTime::to_rfc3339),
            open_journeys: open,
            loaded_by: loaded.len(),
            note: note(state, open, next_from, now),
        };
        shown.check_loaded(&row, &loaded, from);
        shown.journeys.push(row);
    }
    for ((journey, version), loaded) in left {
        let open = told.open.get(&(journey.clone(), version.clone())).copied();
        let from = loaded.iter().copied().find(|from| *from > 0);
        shown.journeys.push(Row {
            journey,
            version,
            state: State::NotConfigured,
            effective_from: from.map(|from| EventTime(from).to_rfc3339()),
            open_journeys: open,
            loaded_by: loaded.len(),
            note: String::new(),
        });
    }
    for ((journey, version), resting) in told.resting {
        if shown.journeys.iter().any(|row| row.journey == journey && row.version == version) {
            continue;
        }
        shown.problems.push(format!(
            "{resting} journeys of version {version} of `{journey}` rest because no processor has it loaded; configure \
             it again, or leave them as they are"
        ));
        let note = "nothing is worked out for them".to_owned();
        let (state, open_journeys) = (State::NotLoaded, Some(resting));
        shown.journeys.push(Row { journey, version, state, effective_from: None, open_journeys, loaded_by: 0, note });
    }
    shown
}

fn note(state: State, open: Option<u64>, next_from: Option<EventTime>, now: EventTime) -> String {
    match (state, open) {
        (State::Superseded, Some(0)) => "no journey is on its way by it: it may be removed".to_owned(),
        (State::Superseded, _) => "keep it until no journey is on its way by it".to_owned(),
        (State::InForce, _) => {
            next_from.filter(|next| *next > now).map_or(String::new(), |next| format!("until {}", next.to_rfc3339()))
        }
        _ => String::new(),
    }
}

impl Shown {
    /// Whether every processor has the version as it is here.
    fn check_loaded(&mut self, row: &Row, loaded: &[i64], from: Option<EventTime>) {
        let missing = self.processors - loaded.len().min(self.processors);
        if missing > 0 && row.state != State::Superseded {
            self.problems.push(format!(
                "{missing} of {} processors have not loaded version {} of `{}`{}",
                self.processors,
                row.version,
                row.journey,
                from.filter(|_| row.state == State::ToCome)
                    .map_or(String::new(), |from| format!("; it takes effect at {from}"))
            ));
        }
        let expected = from.map_or(0, |from| from.0);
        if loaded.iter().any(|loaded| *loaded != expected) {
            self.problems.push(format!(
                "a processor has version {} of `{}` loaded with another `effective_from`",
                row.version, row.journey
            ));
        }
    }
}

pub fn render(shown: &Shown) -> String {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_header([
        "journey",
        "version",
        "state",
        "signups from",
        "open journeys",
        "loaded by",
        "",
    ]);
    for row in &shown.journeys {
        table.add_row([
            row.journey.clone(),
            row.version.clone(),
            row.state.words().to_owned(),
            row.effective_from.clone().unwrap_or_else(|| "the beginning".to_owned()),
            row.open_journeys.map_or("–".to_owned(), |open| open.to_string()),
            if shown.processors == 0 { "–".to_owned() } else { format!("{} of {}", row.loaded_by, shown.processors) },
            row.note.clone(),
        ]);
    }
    let mut text = table.to_string();
    if shown.processors == 0 {
        text.push_str("\nno processor answered: this is the configuration alone");
    }
    for problem in &shown.problems {
        let _ = write!(text, "\n\x1b[31m! {problem}\x1b[0m");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: EventTime = EventTime(1_800_000_000_000);

    fn definition(version: i32, from_ms: Option<i64>) -> JourneyDefinition {
        let mut value = serde_json::json!({
            "id": "onboarding", "version": version, "total": { "target": "1h" },
            "milestones": [{ "id": "a", "events": ["a"] }, { "id": "b", "events": ["b"] }],
            "stages": [{ "id": "a_to_b", "from": "a", "to": "b", "target": "1h" }],
        });
        if let Some(from_ms) = from_ms {
            value["effective_from"] = EventTime(from_ms).to_rfc3339().into();
        }
        serde_json::from_value(value).unwrap()
    }

    fn page(ordinal: u32, loaded: &[(i32, i64)], open: &[(i32, u32)], resting: &[(i32, u32)]) -> (String, Page) {
        let mut text =
            format!("ttf_processor_open_transaction_age_seconds{{worker=\"ttf-processor-{ordinal}-0\"}} 0\n");
        let mut line = |name: &str, version: i32, value: String| {
            writeln!(text, "{name}{{journey=\"onboarding\",version=\"{version}\"}} {value}").unwrap();
        };
        for (version, from_ms) in loaded {
            line(LOADED, *version, (*from_ms as f64 / 1_000.0).to_string());
        }
        for (name, counts) in [(OPEN, open), (RESTING, resting)] {
            for (version, count) in counts {
                line(name, *version, count.to_string());
            }
        }
        (format!("http://{ordinal}"), Page::parse(&text))
    }

    fn states(shown: &Shown) -> Vec<(&str, State, Option<u64>, usize)> {
        shown.journeys.iter().map(|row| (&*row.version, row.state, row.open_journeys, row.loaded_by)).collect()
    }

    #[test]
    fn every_version_is_shown_with_what_is_open_and_who_has_it() {
        let (past, to_come) = (NOW.0 - 1_000, NOW.0 + 60_000);
        let definitions = [definition(3, Some(to_come)), definition(1, Some(5)), definition(2, Some(past))];
        let pages = BTreeMap::from([
            page(0, &[(1, 0), (2, past), (3, to_come)], &[(1, 4), (2, 7)], &[]),
            page(1, &[(1, 0), (2, past)], &[(1, 0), (2, 5)], &[]),
        ]);
        let shown = shown(&definitions, &pages, NOW);
        let expected = [
            ("1", State::Superseded, Some(4), 2),
            ("2", State::InForce, Some(12), 2),
            ("3", State::ToCome, Some(0), 1),
        ];
        assert_eq!(states(&shown), expected);
        assert_eq!(shown.journeys[0].effective_from, None, "the oldest takes all before the next");
        assert_eq!(
            shown.problems,
            [
                "1 of 2 processors have not loaded version 3 of `onboarding`; it takes effect at 2027-01-15T08:01:00.000Z"
            ]
        );
    }

    #[test]
    fn a_version_may_be_removed_when_no_journey_is_open_and_is_missed_when_one_rests() {
        let from = NOW.0 - 1_000;
        let both = [definition(1, None), definition(2, Some(from))];
        let pages = BTreeMap::from([page(0, &[(1, 0), (2, from)], &[(1, 0), (2, 1)], &[])]);
        let before = shown(&both, &pages, NOW);
        assert_eq!(before.journeys[0].note, "no journey is on its way by it: it may be removed");
        assert_eq!(before.problems, [""; 0]);

        let pages = BTreeMap::from([page(0, &[(2, 0)], &[(2, 1)], &[(1, 3)])]);
        let after = shown(&both[1..], &pages, NOW);
        assert_eq!(states(&after), [("2", State::InForce, Some(1), 1), ("1", State::NotLoaded, Some(3), 0)]);
        assert!(after.problems[0].starts_with("3 journeys of version 1 of `onboarding` rest"), "{:?}", after.problems);
    }

    #[test]
    fn a_process_that_runs_something_else_is_told_of() {
        let pages = BTreeMap::from([page(0, &[(1, 0), (9, 77_000)], &[(9, 2)], &[])]);
        let shown = shown(&[definition(1, None)], &pages, NOW);
        assert_eq!(states(&shown)[1], ("9", State::NotConfigured, Some(2), 1));
        assert_eq!(shown.journeys[1].effective_from.as_deref(), Some("1970-01-01T00:01:17.000Z"));
        let nobody = super::shown(&[definition(1, None)], &BTreeMap::new(), NOW);
        assert_eq!(states(&nobody), [("1", State::InForce, None, 0)]);
        assert!(render(&nobody).ends_with("no processor answered: this is the configuration alone"));
    }
}
