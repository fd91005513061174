//! Reads everything there is about the users of a slice onto shelves, and hands it out user by user.

use std::{
    collections::BTreeMap,
    iter::Peekable,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use serde::Serialize;
use stream_runtime::{
    keyed::{Codec as _, Poison, Undecoded},
    log::{Log, RecordRef, TopicPartition, partitioner},
};
use telemetry_schemas::{Codec, EventTime, Millis, RecordKey, Subject, TtfBreach, TtfRecord, key::SEPARATOR, topics};
use ttf_processor::{
    codec::JourneyCodec,
    journey::{Journeys, UserState},
    processor::Input,
    replay::{Known, Terms, User, Window, recompute},
};

use super::{
    progress::Progress,
    reading::{Readers, Reading},
    shelf::{Entries, Scratch, Shelf},
    standing::{Standing, changelog_end},
    values::{Fresh, Raw},
    window::{self, InputWindow, Range},
};

/// What was written so shortly before a look may be half of a transaction whose other half is not visible yet; none
/// is open for longer.
const TRANSACTION: i64 = 30_000;

/// A deadline is judged at the latest this long after it could be: the processor samples the ends of its inputs, and a
/// commit may take a while.
pub const SETTLING: Millis = Millis(10_000);

/// How long a schema registry that is away is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(500);

/// What is read where.
pub struct Sources {
    pub log: Arc<dyn Log>,
    pub codec: Codec,
    pub journey_codec: JourneyCodec,
    pub journeys: Arc<Journeys>,
    /// Of events, erasures and state.
    pub partitions: i32,
    pub from: Option<EventTime>,
    pub to: Option<EventTime>,
    /// Nothing can be written while this is read.
    pub exclusive: bool,
    /// Raised when it must end.
    pub stop: Arc<AtomicBool>,
}

/// Partitions that are replayed together: the same number of every topic, or all of them where the topics have
/// different numbers of partitions.
#[derive(Debug, Clone)]
pub struct Slice {
    pub inputs: Vec<i32>,
    pub records: Vec<i32>,
    pub breaches: Vec<i32>,
}

/// What was read.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Read {
    pub events: u64,
    pub erasures: u64,
    /// Events and erasures that the processor cannot process either.
    pub unprocessable: u64,
    pub states: u64,
    pub records: u64,
    pub breaches: u64,
}

impl Read {
    pub fn total(self) -> u64 {
        self.events + self.erasures + self.states + self.records + self.breaches
    }
}

/// The shelves, used again for each slice.
pub struct Gathering {
    fresh: Shelf<Fresh>,
    known: Shelf<Raw>,
    records: Shelf<Raw>,
    breaches: Shelf<Raw>,
    /// What holds for the users of each partition.
    terms: BTreeMap<i32, Terms>,
    standing: Option<Standing>,
    readers: Readers,
    pub read: Read,
    pub windows: Vec<InputWindow>,
}

impl Gathering {
    /// Holds about `memory` bytes in memory.
    pub fn new(scratch: &Scratch, memory: usize) -> anyhow::Result<Self> {
        Ok(Self {
            fresh: Shelf::new(scratch, "fresh", memory / 4)?,
            known: Shelf::new(scratch, "known", memory / 4)?,
            records: Shelf::new(scratch, "records", memory / 4)?,
            breaches: Shelf::new(scratch, "breaches", memory / 4)?,
            terms: BTreeMap::new(),
            standing: None,
            readers: Readers::new(),
            read: Read::default(),
            windows: Vec::new(),
        })
    }

    /// Reads a slice. First what was put in, then what came of it, so that what came of it is never the older view.
    pub fn gather(&mut self, sources: &Sources, slice: &Slice, progress: &mut Progress) -> anyhow::Result<()> {
        self.fresh.clear()?;
        self.known.clear()?;
        self.records.clear()?;
        self.breaches.clear()?;
        self.terms.clear();

        let standing = match self.standing.take() {
            Some(standing) if standing.is_fresh() => standing,
            _ => Standing::ask(sources)?,
        };
        let mut reading = Reading { sources, progress, readers: std::mem::take(&mut self.readers) };
        let mut views = Vec::new();
        for partition in &slice.inputs {
            views.push(self.inputs(&mut reading, &standing, *partition)?);
        }
        let now = EventTime(service_kit::clock::now_ms());
        let mut outputs_complete = true;
        let mut last_output_ms = i64::MIN;
        let mut known_until = BTreeMap::new();
        for partition in &slice.inputs {
            known_until.insert(*partition, self.states(&mut reading, *partition)?);
        }
        for (topic, partitions) in [(topics::TTF_RECORDS, &slice.records), (topics::TTF_BREACHES, &slice.breaches)] {
            for partition in partitions {
                let range = window::whole(&*sources.log, topic, *partition)?;
                outputs_complete &= range.start == 0;
                last_output_ms = last_output_ms.max(self.outputs(&mut reading, &range)?);
            }
        }
        for view in views {
            let partition = view.window.partition;
            let moved = !sources.exclusive && changelog_end(sources, partition)? != standing.changelog_ends[&partition];
            let last_written_ms = known_until[&partition].unwrap_or(last_output_ms);
            let terms = Terms {
                now,
                sure_until: view
                    .unprocessed_since
                    .unwrap_or(now)
                    .min(EventTime(last_written_ms.saturating_sub(SETTLING.0))),
                window: view.told,
                outputs_complete,
                moving_since: moved.then(|| EventTime(standing.as_of.0 - TRANSACTION)),
            };
            self.terms.insert(partition, terms);
            self.windows.push(view.window);
        }
        self.readers = reading.readers;
        self.standing = Some(standing);
        Ok(())
    }

    /// Erasures, then events: the markers keep out what was received before them.
    fn inputs(&mut self, reading: &mut Reading<'_>, standing: &Standing, partition: i32) -> anyhow::Result<InputView> {
        let sources = reading.sources;
        let log = &*sources.log;
        let inputs = [topics::EVENTS, topics::ERASURES].map(|topic| TopicPartition::new(topic, partition));
        let processed = |at: &TopicPartition| standing.committed.get(at).copied();
        let mut unprocessed_since = None;
        for at in &inputs {
            if let Some(next) = processed(at) {
                let waiting = window::first_written(log, at, next)?;
                unprocessed_since = [unprocessed_since, waiting].into_iter().flatten().min();
            }
        }

        let erasures = window::of_erasures(log, partition, processed(&inputs[1]))?;
        reading.read(&erasures, &mut |record| {
            self.read.erasures += 1;
            self.take(sources, record)
        })?;
        let window = window::of_events(log, partition, processed(&inputs[0]), sources.from, sources.to)?;
        let mut first = None;
        reading.read(&window.range(), &mut |record| {
            self.read.events += 1;
            first.get_or_insert(EventTime(record.timestamp_ms));
            self.take(sources, record)
        })?;
        let told = window.as_told(sources.from, first, EventTime(service_kit::clock::now_ms()));
        Ok(InputView { window, told, unprocessed_since })
    }

    fn take(&mut self, sources: &Sources, record: &RecordRef<'_>) -> anyhow::Result<()> {
        let input = match decode_patiently(&sources.journey_codec, record)? {
            Ok(Some(input)) => input,
            Ok(None) => return Ok(()),
            Err(Poison { .. }) => {
                self.read.unprocessable += 1;
                return Ok(());
            }
        };
        let key = record.key.unwrap_or_default();
        let received_ms = match &input {
            Input::Event(event) => event.received_at.0,
            Input::Erasure(_) => i64::MAX,
        };
        self.fresh.change(key, |there| {
            let (mut state, mut first) = match there.take() {
                Some(fresh) => (Some(UserState::from(fresh.state)), fresh.first_received_ms),
                None => (None, i64::MAX),
            };
            let erased_at = state.as_ref().and_then(|user| user.kept.erased_at);
            recompute::take(&sources.journeys, &mut state, &input, EventTime(record.timestamp_ms));
            if erased_at.is_none_or(|erased_at| received_ms >= erased_at.0) {
                first = first.min(received_ms);
            }
            *there = state.map(|user| Fresh { state: user.kept, first_received_ms: first });
        })
    }

    /// The changelog; returns when its last record was written.
    fn states(&mut self, reading: &mut Reading<'_>, partition: i32) -> anyhow::Result<Option<i64>> {
        let range = window::whole(&*reading.sources.log, topics::TTF_STATE, partition)?;
        let mut last = None;
        reading.read(&range, &mut |record| {
            let Some(key) = record.key.filter(|key| is_user(key)) else { return Ok(()) };
            self.read.states += 1;
            last = last.max(Some(record.timestamp_ms));
            self.known.put(key, record.value.map(|value| raw(value, record)))
        })?;
        Ok(last)
    }

    /// The last record of each attempt, the last breach of each level; returns when the last one was written.
    fn outputs(&mut self, reading: &mut Reading<'_>, range: &Range) -> anyhow::Result<i64> {
        let codec = &reading.sources.codec;
        let mut last = i64::MIN;
        reading.read(range, &mut |record| {
            let (Some(key), Some(value)) = (record.key.filter(|key| is_user(key)), record.value) else {
                return Ok(());
            };
            last = last.max(record.timestamp_ms);
            let shown = |error| anyhow::anyhow!("{}@{} cannot be decoded: {error}", range.at, record.offset);
            if &*range.at.topic == topics::TTF_RECORDS {
                self.read.records += 1;
                let decoded: TtfRecord = codec.decode(value).map_err(shown)?;
                self.records.put(&place(key, &[&decoded.journey, &decoded.attempt]), Some(raw(value, record)))
            } else {
                self.read.breaches += 1;
                let decoded: TtfBreach = codec.decode(value).map_err(shown)?;
                let place = place(key, &[&decoded.journey, &decoded.attempt, decoded.level.as_str()]);
                self.breaches.put(&place, Some(raw(value, record)))
            }
        })?;
        Ok(last)
    }

    /// Hands out every user of the slice, in key order, with the terms of its partition.
    pub fn for_each(
        &mut self,
        sources: &Sources,
        visit: &mut dyn FnMut(&User, &Terms) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut fresh = self.fresh.entries()?.peekable();
        let mut known = self.known.entries()?.peekable();
        let mut records = self.records.entries()?.peekable();
        let mut breaches = self.breaches.entries()?.peekable();
        loop {
            let next =
                [first_key(&mut fresh)?, first_key(&mut known)?, first_key(&mut records)?, first_key(&mut breaches)?];
            let Some(key) = next.into_iter().flatten().min() else { return Ok(()) };
            let partition = partitioner::partition_for(&key, sources.partitions);
            let user = User {
                key: RecordKey::parse(&key)?,
                known: of_user(&mut known, &key)?.pop().map(|raw| decode_known(sources, raw)).transpose()?,
                fresh: None,
                records: decode_all(&sources.codec, of_user(&mut records, &key)?)?,
                breaches: decode_all(&sources.codec, of_user(&mut breaches, &key)?)?,
            };
            let fresh = of_user(&mut fresh, &key)?.pop();
            // A record under a partition that is not its key's: the processor sets it aside, too.
            let Some(terms) = self.terms.get(&partition) else { continue };
            let mut terms = *terms;
            let user = adopt_marker(user, fresh, &mut terms);
            visit(&user, &terms)?;
        }
    }
}

/// The marker of an erasure that is no longer in its topic is taken over: it kept out events from before it. Where
/// the window has such events, the user cannot be told from the window.
fn adopt_marker(mut user: User, fresh: Option<Fresh>, terms: &mut Terms) -> User {
    let marker = user.known.as_ref().and_then(|known| known.state.erased_at);
    user.fresh = fresh.map(|fresh| {
        let mut state = fresh.state;
        if marker > state.erased_at {
            if marker.is_some_and(|marker| fresh.first_received_ms < marker.0) {
                terms.window = Window { from: Some(EventTime(i64::MAX)), ..terms.window };
            }
            state.erased_at = marker;
        }
        state
    });
    if user.fresh.is_none()
        && let (Some(known), Some(_)) = (&user.known, marker)
    {
        let state = &known.state;
        user.fresh = Some(telemetry_schemas::state::JourneyState {
            erased_at: marker,
            last_received_at: state.last_received_at,
            ..Default::default()
        });
    }
    user
}

/// Waits for a schema registry that is away: a record that cannot be read yet is not one that never can be.
fn decode_patiently<'a>(
    codec: &JourneyCodec,
    record: &RecordRef<'a>,
) -> anyhow::Result<Result<Option<Input<'a>>, Poison>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match codec.decode(record) {
            Ok(decoded) => return Ok(Ok(decoded)),
            Err(Undecoded::Poison(poison)) => return Ok(Err(poison)),
            Err(Undecoded::NotYet(why)) if Instant::now() >= deadline => {
                bail!("{}[{}]@{} cannot be read: {why}", record.topic, record.partition, record.offset)
            }
            Err(Undecoded::NotYet(_)) => std::thread::sleep(PAUSE),
        }
    }
}

fn decode_known(sources: &Sources, raw: Raw) -> anyhow::Result<Known> {
    let state = sources.journey_codec.decode_state(&raw.bytes).context("a state in the changelog")?;
    Ok(Known { state: state.kept, written_at: EventTime(raw.written_ms) })
}

fn decode_all<T: telemetry_schemas::AvroMessage>(codec: &Codec, raws: Vec<Raw>) -> anyhow::Result<Vec<T>> {
    raws.iter().map(|raw| Ok(codec.decode(&raw.bytes)?)).collect()
}

fn raw(value: &[u8], record: &RecordRef<'_>) -> Raw {
    Raw { bytes: value.to_vec(), written_ms: record.timestamp_ms }
}

fn is_user(key: &[u8]) -> bool {
    RecordKey::parse(key).is_ok_and(|key| matches!(key.subject, Subject::User(_)))
}

/// A user's key with what tells apart several values of one user. No id has a separator in it, and none has a
/// character below it, so that what belongs to one user stays together in key order.
fn place(user: &[u8], parts: &[&str]) -> Vec<u8> {
    let mut key = user.to_vec();
    for part in parts {
        key.push(SEPARATOR as u8);
        key.extend(part.as_bytes());
    }
    key
}

/// The user's part of a place: tenant, kind and id.
fn user_of(place: &[u8]) -> &[u8] {
    let third = place.iter().enumerate().filter(|(_, byte)| **byte == SEPARATOR as u8).nth(2);
    third.map_or(place, |(index, _)| &place[..index])
}

fn first_key<V>(entries: &mut Peekable<Entries<'_, V>>) -> anyhow::Result<Option<Vec<u8>>> {
    match entries.peek() {
        None => Ok(None),
        Some(Ok((place, _))) => Ok(Some(user_of(place).to_vec())),
        Some(Err(error)) => bail!("{error:#}"),
    }
}

fn of_user<V>(entries: &mut Peekable<Entries<'_, V>>, user: &[u8]) -> anyhow::Result<Vec<V>> {
    let mut values = Vec::new();
    while let Some(entry) = entries.next_if(|entry| entry.as_ref().is_ok_and(|(place, _)| user_of(place) == user)) {
        values.push(entry?.1);
    }
    Ok(values)
}

/// What is known of an input partition once it was read.
struct InputView {
    window: InputWindow,
    told: Window,
    unprocessed_since: Option<EventTime>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_a_user_is_told_by_the_users_key() {
        let key = RecordKey::user("acme", "u 1").to_bytes();
        assert_eq!(user_of(&key), key);
        assert_eq!(user_of(&place(&key, &["onboarding", ""])), key);
        assert_eq!(user_of(&place(&key, &["onboarding", "a", "warning"])), key);
        assert!(place(&key, &["z"]) < RecordKey::user("acme", "u 1 ").to_bytes(), "nobody comes in between");
    }
}
