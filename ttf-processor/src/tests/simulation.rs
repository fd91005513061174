//! The processor in a seeded simulation of whole processes: whatever happens to them, what they have said in the end is
//! what the oracle says.
//!
//! `SIMULATION_SEEDS` sets how many seeds are run, `SIMULATION_SEED` repeats one and tells what was done in it.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    panic::{self, AssertUnwindSafe},
    sync::Arc,
};

use rand::{Rng as _, seq::IndexedRandom as _};
use service_kit::{Kit, Metrics, config::MetricsConfig};
use stream_runtime::{
    keyed::simulation::{Disks, Setup, Simulation},
    log::NewRecord,
};
use telemetry_schemas::{
    AvroMessage, Codec, Event, EventTime, EventType, JourneyStatus, Millis, RecordKey, TtfBreach, TtfRecord,
    erasure::Erasure, topics,
};

use super::properties::{NAMES, definitions};
use crate::{
    codec::JourneyCodec,
    figures::Figures,
    journey::{
        JourneyDefinition, Journeys,
        testing::{EventExt, MINUTE, NINE, event},
    },
    oracle,
    processor::JourneyProcessor,
};

const SEEDS: u64 = 300;
const STEPS: usize = 70;
const USERS: u32 = 6;

type Pipe<'d> = Simulation<'d, JourneyProcessor, JourneyCodec>;

/// What the senders have to say.
struct Senders {
    codec: Codec,
    sent: Vec<Event>,
    /// Nothing is heard of them after their erasure: between topics there is no order.
    erased: BTreeSet<String>,
}

impl Senders {
    fn say(&mut self, pipe: &mut Pipe<'_>) {
        let user_id = format!("u-{}", pipe.random().random_range(0..USERS));
        if self.erased.contains(&user_id) {
            return;
        }
        if pipe.random().random_bool(0.03) {
            return self.erase(pipe, user_id);
        }
        let now = EventTime(pipe.now_ms());
        let known: Vec<Event> =
            self.sent.iter().filter(|event| event.user_id.as_ref() == Some(&user_id)).cloned().collect();
        let again = if pipe.random().random_bool(0.15) { known.choose(pipe.random()).cloned() } else { None };
        let event = again.unwrap_or_else(|| new_event(pipe, now, self.sent.len())).received(now);
        let event = Event { user_id: Some(user_id), ..event };
        self.sent.push(event.clone());
        self.send(pipe, topics::EVENTS, &event, event.user_id.as_deref().unwrap_or_default());
    }

    fn erase(&mut self, pipe: &mut Pipe<'_>, user_id: String) {
        let erasure = Erasure {
            erasure_id: format!("erasure-of-{user_id}"),
            tenant: "default".to_owned(),
            user_id: user_id.clone(),
            erased_at: EventTime(pipe.now_ms() + 1),
            requested_by: "tests".to_owned(),
            reason: None,
        };
        self.send(pipe, topics::ERASURES, &erasure, &user_id);
        self.erased.insert(user_id);
    }

    fn send<T: AvroMessage>(&self, pipe: &mut Pipe<'_>, topic: &str, message: &T, user_id: &str) {
        let value = self.codec.encode(message).unwrap();
        pipe.publish(NewRecord::new(topic, RecordKey::user("default", user_id).to_bytes(), value));
    }
}

fn new_event(pipe: &mut Pipe<'_>, now: EventTime, number: usize) -> Event {
    let random = pipe.random();
    let ago = random.random_range(0..200) * MINUTE + *[0, 1, 2_000].choose(random).expect("there is one");
    let name = NAMES.choose(random).expect("there is one");
    let mut event = event(name, now.plus(Millis(-ago)))
        .with_id(&format!("event-{number}"))
        .with_property("status", *["ok", "failed"].choose(random).expect("there is one"));
    if random.random_bool(0.1) {
        event = event.of_type(EventType::Identify).with_property("plan", "team");
    }
    if random.random_bool(0.1) { event.in_attempt("again") } else { event }
}

fn committed<T: AvroMessage>(pipe: &Pipe<'_>, codec: &Codec, topic: &str) -> Vec<T> {
    let written = pipe.written(topic).into_iter().filter(|written| written.committed);
    let values = written.filter_map(|written| written.record.value);
    values.map(|value| codec.decode(&value).unwrap()).collect()
}

fn check(pipe: &Pipe<'_>, codec: &Codec, definitions: &[JourneyDefinition]) {
    let (events, erasures): (Vec<Event>, Vec<Erasure>) =
        (committed(pipe, codec, topics::EVENTS), committed(pipe, codec, topics::ERASURES));
    let breaches: Vec<TtfBreach> = committed(pipe, codec, topics::TTF_BREACHES);
    let mut records: BTreeMap<(String, String, String), Vec<TtfRecord>> = BTreeMap::new();
    for record in committed::<TtfRecord>(pipe, codec, topics::TTF_RECORDS) {
        let of = (record.user_id.clone(), record.journey.clone(), record.attempt.clone());
        records.entry(of).or_default().push(record);
    }
    for (of, records) in &records {
        let revisions: Vec<i64> = records.iter().map(|record| record.revision).collect();
        assert_eq!(revisions, (1..=records.len() as i64).collect::<Vec<_>>(), "{of:?}");
    }
    let until = EventTime(pipe.now_ms());
    for journey in oracle::expected(definitions, &oracle::without_erased(&events, &erasures), until) {
        let of = (journey.user_id.clone(), journey.journey.clone(), journey.attempt.clone());
        let said = records.remove(&of).unwrap_or_else(|| panic!("nothing was said of {of:?}"));
        journey.check_record(said.last().expect("an attempt has a record")).unwrap();
        let own = breaches.iter().filter(|it| (&it.user_id, &it.journey, &it.attempt) == (&of.0, &of.1, &of.2));
        journey.check_breaches(own).unwrap();
    }
    for (of, said) in records {
        let is_erased = erasures.iter().any(|erasure| erasure.user_id == of.0);
        let last = said.last().expect("an attempt has a record").status;
        assert!(is_erased && last == JourneyStatus::Erased, "{of:?} is {last:?} in the end");
    }
}

fn simulate(seed: u64, tell: bool, avro: &Codec, disks: &mut Disks, kit: &Kit) {
    let definitions = definitions();
    let journeys = Arc::new(Journeys::new(&definitions).unwrap());
    let labels = MetricsConfig { segment_by: None, segment_values: Vec::new() };
    let figures = Figures::new(&Metrics::default(), journeys.clone(), labels).unwrap();
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let setup = Setup {
        inputs: owned(&[topics::EVENTS, topics::ERASURES]),
        first_inputs: owned(&[topics::ERASURES]),
        changelog: topics::TTF_STATE.to_owned(),
        outputs: owned(&[topics::TTF_RECORDS, topics::TTF_BREACHES, topics::EVENTS_REJECTED]),
        partitions: 3,
        members: 3,
        start_ms: NINE.0,
    };
    let processor = Arc::new(JourneyProcessor::new(journeys, figures));
    let codec = Arc::new(JourneyCodec::new(avro.clone()));
    let mut pipe = Simulation::new(seed, setup, processor, codec, disks, kit).unwrap();
    if tell {
        pipe.tell();
    }
    let mut senders = Senders { codec: avro.clone(), sent: Vec::new(), erased: BTreeSet::new() };
    for _ in 0..STEPS {
        if pipe.random().random_bool(0.3) {
            for _ in 0..pipe.random().random_range(1..6) {
                senders.say(&mut pipe);
            }
        }
        pipe.act();
    }
    pipe.finish();
    check(&pipe, avro, &definitions);
}

#[test]
fn records_and_breaches_are_the_oracles_whatever_happens_to_the_processes() {
    let (mut disks, kit, avro) = (Disks::new().unwrap(), Kit::for_test(), Codec::without_registry());
    let number = |name: &str| env::var(name).ok().map(|number| number.parse::<u64>().expect("the seed is a number"));
    let (one, count) = (number("SIMULATION_SEED"), number("SIMULATION_SEEDS").unwrap_or(SEEDS));
    let seeds = one.map_or(0..count, |seed| seed..seed + 1);
    for seed in seeds {
        let passed =
            panic::catch_unwind(AssertUnwindSafe(|| simulate(seed, one.is_some(), &avro, &mut disks, &kit))).is_ok();
        assert!(
            passed,
            "seed {seed} failed; repeat it: SIMULATION_SEED={seed} cargo test -p ttf-processor --lib simulation -- \
             --nocapture"
        );
    }
}
