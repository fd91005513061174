//! What the evaluator is told by a database: one row per attempt and stage, without whose it is.

use std::{collections::HashMap, sync::Arc};

use telemetry_schemas::time::{EventTime, Millis};

/// The id under which the whole way from signup to success is counted.
pub const TOTAL: &str = "total";

/// Name and value of each segment of an attempt, by name.
pub type Segments = Arc<[(Arc<str>, Arc<str>)]>;

/// How far one attempt is in one stage.
#[derive(Debug, Clone, PartialEq)]
pub struct StageRow {
    pub tenant: Arc<str>,
    pub journey: Arc<str>,
    /// A stage's id, or [`TOTAL`].
    pub stage: Arc<str>,
    pub signup_at: EventTime,
    /// `None` for a total whose version of the journey is not configured.
    pub target: Option<Millis>,
    pub course: Course,
    pub segments: Segments,
}

/// How a stage went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Course {
    /// Its first milestone is not there.
    NotReached,
    /// Its first milestone is there, its last is missing while a later one is there.
    Skipped,
    /// On the way since.
    Open(EventTime),
    /// Took this long.
    Completed(Millis),
}

impl Course {
    /// Of a stage: when its first milestone was reached, its duration, and whether its last was left out.
    pub fn of_stage(from_at: Option<EventTime>, duration: Option<Millis>, skipped: bool) -> Self {
        match (from_at, duration) {
            (None, _) => Self::NotReached,
            (Some(_), Some(took)) => Self::Completed(took),
            (Some(_), None) if skipped => Self::Skipped,
            (Some(since), None) => Self::Open(since),
        }
    }

    /// Of the whole way.
    pub fn of_total(signup_at: EventTime, total: Option<Millis>) -> Self {
        total.map_or(Self::Open(signup_at), Self::Completed)
    }
}

/// A deadline that is missed now.
#[derive(Debug, Clone, PartialEq)]
pub struct BreachRow {
    pub tenant: Arc<str>,
    pub journey: Arc<str>,
    /// Where the attempt is now.
    pub stage: Option<Arc<str>>,
    pub signup_at: EventTime,
    pub segments: Segments,
}

/// Everything one evaluation is made from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CohortRows {
    pub stages: Vec<StageRow>,
    pub breaches: Vec<BreachRow>,
}

/// The signups an evaluation is about: after `since`, up to `until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signups {
    pub since: EventTime,
    pub until: EventTime,
}

/// The target of the whole way, by journey and version: records do not carry it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Targets(HashMap<(String, i32), Millis>);

impl Targets {
    pub fn of(&self, journey: &str, version: i32) -> Option<Millis> {
        self.0.get(&(journey.to_owned(), version)).copied()
    }
}

impl FromIterator<((String, i32), Millis)> for Targets {
    fn from_iter<I: IntoIterator<Item = ((String, i32), Millis)>>(targets: I) -> Self {
        Self(targets.into_iter().collect())
    }
}

/// Keeps each text once: there are many rows and few different names.
#[derive(Debug, Default)]
pub struct Interner {
    names: HashMap<String, Arc<str>>,
    segments: HashMap<String, Segments>,
}

impl Interner {
    pub fn name(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.names.get(text) {
            return Arc::clone(known);
        }
        let name: Arc<str> = Arc::from(text);
        self.names.insert(text.to_owned(), Arc::clone(&name));
        name
    }

    /// Segments from their stored form; what cannot be read counts as none.
    pub fn segments(&mut self, json: &str) -> Segments {
        if let Some(known) = self.segments.get(json) {
            return Arc::clone(known);
        }
        let pairs: std::collections::BTreeMap<String, String> = serde_json::from_str(json).unwrap_or_default();
        let segments: Segments = pairs.iter().map(|(name, value)| (self.name(name), self.name(value))).collect();
        self.segments.insert(json.to_owned(), Arc::clone(&segments));
        segments
    }
}
