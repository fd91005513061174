//! A processor that keeps the number of every input it was given, in order, so that a lost, repeated or reordered one
//! shows, and says of every timer what it was told when it fired. And what the inputs must have come to.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use stream_runtime::{
    keyed::{Codec, Context, Effect, KeyedProcessor, Poison, Undecoded, is_marker},
    log::{NewRecord, RecordRef, simulated::Written},
};

pub const EVENTS: &str = "events";
pub const ERASURES: &str = "erasures";
pub const STATE: &str = "state";
pub const OUT: &str = "out";
pub const REJECTED: &str = "rejected";

/// An account is closed so long after its first input.
const OPEN_MS: i64 = 3_000;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Numbers of the inputs of each topic, in the order they were applied.
    pub inputs: BTreeMap<String, Vec<u64>>,
    pub first_at_ms: i64,
    /// What the timer was told.
    pub complete_until_ms: Option<i64>,
    pub fired: u32,
    /// Inputs that came although the timer was told that all of them had come.
    pub late: Vec<u64>,
    /// The timer fired before it was due.
    pub early: bool,
    pub revision: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    Add {
        topic: String,
        number: u64,
        received_ms: i64,
        /// What the timer goes by; may be long ago.
        at_ms: i64,
    },
    /// Changes nothing.
    Look,
    /// Not for us.
    Skip,
    /// Forgets the inputs of its topic; the account goes with the last of them.
    Forget { topic: String },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub key: String,
    pub account: Option<Account>,
}

pub struct Ledger;

impl KeyedProcessor for Ledger {
    type Key = String;
    type State = Account;
    type Input<'a> = Input;
    type Output = Entry;

    fn on_record(&self, _ctx: &Context, _key: &String, state: &mut Option<Account>, input: Input) -> Effect {
        match input {
            Input::Look | Input::Skip => return Effect::Unchanged,
            Input::Add { topic, number, received_ms, at_ms } => {
                let account = state.get_or_insert_with(|| Account { first_at_ms: at_ms, ..Account::default() });
                account.first_at_ms = account.first_at_ms.min(at_ms);
                account.inputs.entry(topic).or_default().push(number);
                if account.complete_until_ms.is_some_and(|until_ms| received_ms <= until_ms) {
                    account.late.push(number);
                }
            }
            Input::Forget { topic } => {
                if let Some(account) = state {
                    account.inputs.remove(&topic);
                    if account.inputs.is_empty() {
                        *state = None;
                    }
                }
            }
        }
        Effect::Changed
    }

    fn on_timer(&self, _ctx: &Context, _key: &String, state: &mut Option<Account>, complete_until_ms: i64) {
        if let Some(account) = state {
            account.early = complete_until_ms < account.first_at_ms + OPEN_MS;
            account.complete_until_ms = Some(complete_until_ms);
            account.fired += 1;
        }
    }

    fn next_due(&self, account: &Account) -> Option<i64> {
        account.complete_until_ms.is_none().then_some(account.first_at_ms + OPEN_MS)
    }

    fn on_flush(
        &self,
        _ctx: &Context,
        key: &String,
        before: Option<&Account>,
        after: &mut Option<Account>,
        outputs: &mut Vec<Entry>,
    ) {
        if before == after.as_ref() {
            return;
        }
        if let Some(after) = after {
            // An account that went and came back within one transaction was never seen to go.
            after.revision = before.map_or(0, |before| before.revision) + 1;
        }
        outputs.push(Entry { key: key.clone(), account: after.clone() });
    }
}

impl Codec<Ledger> for Ledger {
    fn decode(&self, record: &RecordRef<'_>) -> Result<Option<Input>, Undecoded> {
        let poison = || Poison { code: "undecodable", message: "no input".to_owned() };
        let input: Input = serde_json::from_slice(record.value.unwrap_or_default()).map_err(|_| poison())?;
        Ok((input != Input::Skip).then_some(input))
    }

    fn decode_key(&self, bytes: &[u8]) -> Result<String, Poison> {
        Ok(key_of(Some(bytes)))
    }

    fn encode_state(&self, account: &Account) -> Vec<u8> {
        serde_json::to_vec(account).unwrap()
    }

    fn decode_state(&self, bytes: &[u8]) -> Result<Account, Poison> {
        serde_json::from_slice(bytes).map_err(|error| Poison { code: "undecodable", message: error.to_string() })
    }

    fn encode_output(&self, entry: &Entry, records: &mut Vec<NewRecord>) {
        records.push(NewRecord::new(OUT, entry.key.clone(), serde_json::to_vec(entry).unwrap()));
    }

    fn encode_poison(&self, record: &RecordRef<'_>, _poison: &Poison, _now_ms: i64) -> NewRecord {
        NewRecord::new(REJECTED, record.key.unwrap().to_vec(), record.value.unwrap().to_vec())
    }
}

fn key_of(bytes: Option<&[u8]>) -> String {
    String::from_utf8(bytes.unwrap().to_vec()).unwrap()
}

fn parse<T: DeserializeOwned>(written: &Written) -> Option<T> {
    serde_json::from_slice(written.record.value.as_deref().unwrap_or_default()).ok()
}

fn committed(written: Vec<Written>) -> Vec<Written> {
    written.into_iter().filter(|written| written.committed).collect()
}

/// Account and revision, by transaction: what an output and a changelog record must agree on.
type ByTransaction = BTreeMap<u64, BTreeSet<(String, Option<u64>)>>;

fn by_transaction(of: impl Iterator<Item = (Option<u64>, String, Option<u64>)>) -> ByTransaction {
    let mut found = ByTransaction::new();
    for (transaction, key, revision) in of {
        let first = found.entry(transaction.unwrap()).or_default().insert((key.clone(), revision));
        assert!(first, "{key} was written twice in one transaction");
    }
    found
}

/// Holds what was put out against what was put in. `written` tells what stands in a topic.
pub fn check(written: impl Fn(&str) -> Vec<Written>) {
    let mut expected: BTreeMap<String, BTreeMap<String, Vec<u64>>> = BTreeMap::new();
    let mut poison = Vec::new();
    for record in [EVENTS, ERASURES].into_iter().flat_map(|topic| committed(written(topic))) {
        let key = key_of(record.record.key.as_deref());
        match parse(&record) {
            Some(Input::Add { topic, number, .. }) => {
                expected.entry(key).or_default().entry(topic).or_default().push(number);
            }
            Some(Input::Forget { topic }) => {
                expected.entry(key).or_default().remove(&topic);
            }
            Some(Input::Look | Input::Skip) => {}
            None => poison.push(record.record.value),
        }
    }
    expected.retain(|_, inputs| !inputs.is_empty());

    let outputs: Vec<(Option<u64>, Entry)> =
        committed(written(OUT)).iter().map(|written| (written.transaction, parse(written).unwrap())).collect();
    let mut accounts: BTreeMap<String, Account> = BTreeMap::new();
    for (_, Entry { key, account }) in &outputs {
        match account {
            Some(account) => {
                let last = accounts.get(key).map_or(0, |last| last.revision);
                assert_eq!(account.revision, last + 1, "revisions of {key} are not one after the other");
                assert_eq!(account.late, [0; 0], "the timer of {key} fired although inputs were to come");
                assert!(!account.early, "the timer of {key} fired before it was due");
                assert!(account.fired <= 1, "the timer of {key} fired twice");
                accounts.insert(key.clone(), account.clone());
            }
            None => assert!(accounts.remove(key).is_some(), "{key} went twice"),
        }
    }
    for (key, account) in &accounts {
        assert_eq!(account.fired, 1, "the timer of {key} has not fired");
    }
    let found: BTreeMap<_, _> = accounts.into_iter().map(|(key, account)| (key, account.inputs)).collect();
    assert_eq!(found, expected);

    let put_out = by_transaction(
        outputs
            .into_iter()
            .map(|(transaction, entry)| (transaction, entry.key, entry.account.map(|account| account.revision))),
    );
    let stored = by_transaction(
        committed(written(STATE)).iter().filter(|written| !is_marker(written.record.key.as_deref())).map(|written| {
            let revision = parse::<Account>(written).map(|account| account.revision);
            (written.transaction, key_of(written.record.key.as_deref()), revision)
        }),
    );
    assert_eq!(put_out, stored, "outputs and changelog of a transaction differ");

    let mut rejected: Vec<_> = committed(written(REJECTED)).into_iter().map(|written| written.record.value).collect();
    rejected.sort();
    poison.sort();
    assert_eq!(rejected, poison);
}
