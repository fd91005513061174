//! An example processor: counts and sums per key, and closes a key some time after its first record.
//!
//! Its outputs carry a revision that grows by one with each, so that a lost or repeated transaction shows as a gap
//! or a repetition.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use serde::{Deserialize, Serialize};
use stream_runtime::{
    keyed::{Codec, Context, Effect, KeyedProcessor, Poison, Undecoded, test_driver::TestDriver},
    log::{NewRecord, Record, RecordRef},
};

pub const FIRST: &str = "first";
pub const SECOND: &str = "second";
pub const STATE: &str = "state";
pub const OUT: &str = "out";
pub const REJECTED: &str = "rejected";

/// A key is closed this long after the time of its earliest record.
pub const OPEN_MS: i64 = 1_000;

pub struct Tally {
    pub open_ms: i64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    pub count: u64,
    pub sum: i64,
    pub first_at_ms: i64,
    pub closed: bool,
    pub revision: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    Add { at_ms: i64, value: i64 },
    Forget,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    pub key: String,
    /// `None`: forgotten.
    pub state: Option<Totals>,
}

impl KeyedProcessor for Tally {
    type Key = String;
    type State = Totals;
    type Input<'a> = Input;
    type Output = Snapshot;

    fn on_record(&self, _ctx: &Context, _key: &String, state: &mut Option<Totals>, input: Input) -> Effect {
        match input {
            Input::Add { at_ms, value } => {
                let state = state.get_or_insert(Totals { first_at_ms: at_ms, ..Totals::default() });
                state.count += 1;
                state.sum += value;
                state.first_at_ms = state.first_at_ms.min(at_ms);
            }
            Input::Forget => *state = None,
        }
        Effect::Changed
    }

    fn on_timer(&self, _ctx: &Context, _key: &String, state: &mut Option<Totals>, _complete_until_ms: i64) {
        if let Some(state) = state {
            state.closed = true;
        }
    }

    fn next_due(&self, state: &Totals) -> Option<i64> {
        (!state.closed).then_some(state.first_at_ms + self.open_ms)
    }

    fn on_flush(
        &self,
        _ctx: &Context,
        key: &String,
        before: Option<&Totals>,
        after: &mut Option<Totals>,
        outputs: &mut Vec<Snapshot>,
    ) {
        if before == after.as_ref() {
            return;
        }
        if let Some(after) = after {
            after.revision += 1;
        }
        outputs.push(Snapshot { key: key.clone(), state: after.clone() });
    }
}

/// Names of the topics; a prefix keeps tests on one log apart.
#[derive(Clone, Default)]
pub struct Json {
    pub prefix: String,
    /// While it is set, records whose key begins with `later` cannot be decoded yet.
    pub away: Arc<AtomicBool>,
}

impl Json {
    pub fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

impl Codec<Tally> for Json {
    fn decode(&self, record: &RecordRef<'_>) -> Result<Option<Input>, Undecoded> {
        let poison = |message: &str| Poison { code: "undecodable", message: message.to_owned() };
        let key = record.key.ok_or_else(|| poison("no key"))?;
        if key == b"ignored" {
            return Ok(None);
        }
        if key.starts_with(b"later") && self.away.load(Ordering::Relaxed) {
            return Err(Undecoded::NotYet("something is away".to_owned()));
        }
        let input = serde_json::from_slice(record.value.unwrap_or_default());
        Ok(Some(input.map_err(|_| poison("value"))?))
    }

    fn decode_key(&self, bytes: &[u8]) -> Result<String, Poison> {
        let message = "key".to_owned();
        String::from_utf8(bytes.to_vec()).map_err(|_| Poison { code: "undecodable", message })
    }

    fn encode_state(&self, state: &Totals) -> Vec<u8> {
        serde_json::to_vec(state).unwrap()
    }

    fn decode_state(&self, bytes: &[u8]) -> Result<Totals, Poison> {
        serde_json::from_slice(bytes).map_err(|error| Poison { code: "undecodable", message: error.to_string() })
    }

    fn encode_output(&self, output: &Snapshot, records: &mut Vec<NewRecord>) {
        records.push(NewRecord::new(self.topic(OUT), output.key.clone(), serde_json::to_vec(output).unwrap()));
    }

    fn encode_poison(&self, record: &RecordRef<'_>, poison: &Poison, _now_ms: i64) -> NewRecord {
        let value = record.value.unwrap_or_default().to_vec();
        NewRecord::new(self.topic(REJECTED), record.key.unwrap_or_default().to_vec(), value)
            .with_header("code", poison.code)
    }
}

pub fn add(topic: &str, key: &str, at_ms: i64, value: i64) -> NewRecord {
    NewRecord::new(topic, key.to_owned(), serde_json::to_vec(&Input::Add { at_ms, value }).unwrap())
}

pub fn forget(topic: &str, key: &str) -> NewRecord {
    NewRecord::new(topic, key.to_owned(), serde_json::to_vec(&Input::Forget).unwrap())
}

pub fn garbage(topic: &str, key: &str) -> NewRecord {
    NewRecord::new(topic, key.to_owned(), "no json")
}

/// What the outputs say about each key in the end. Fails on a revision that is missing or comes twice.
pub fn final_states(outputs: &[Record]) -> BTreeMap<String, Totals> {
    let mut states: BTreeMap<String, Totals> = BTreeMap::new();
    for record in outputs {
        let snapshot: Snapshot = serde_json::from_slice(record.value.as_deref().unwrap()).unwrap();
        match snapshot.state {
            Some(state) => {
                let last = states.get(&snapshot.key).map_or(0, |known| known.revision);
                assert_eq!(state.revision, last + 1, "revisions of {} are not one after the other", snapshot.key);
                states.insert(snapshot.key, state);
            }
            None => assert!(states.remove(&snapshot.key).is_some(), "{} forgotten twice", snapshot.key),
        }
    }
    states
}

/// Records of the changelog that restores have read so far.
pub fn restored(driver: &TestDriver<Tally, Json>) -> u64 {
    let figures = driver.kit().metrics().render();
    let line = figures.lines().find_map(|line| line.strip_prefix("ttf_test_restored_records_total ")).unwrap();
    line.parse().unwrap()
}
