//! Seeded simulations of the keyed runtime: crashes, stalls, zombies, rebalances and lost disks at every dangerous line.
//!
//! `SIMULATION_SEEDS` sets how many seeds are run, `SIMULATION_SEED` repeats one and tells what was done in it.

mod support;

use std::{
    env,
    panic::{self, AssertUnwindSafe},
    sync::Arc,
};

use rand::Rng as _;
use service_kit::Kit;
use stream_runtime::{
    keyed::{
        is_marker,
        simulation::{Disks, Setup, Simulation},
        test_driver::in_memory,
    },
    log::{NewRecord, simulated::Written},
};
use support::{
    ledger::{self, ERASURES, EVENTS, Input, Ledger, OUT, REJECTED, STATE},
    simulation,
    tally::Json,
};

const SEEDS: u64 = 2_000;
const STEPS: usize = 90;
const KEYS: u32 = 7;
/// Seeds that are run twice.
const REPEATED_SEEDS: u64 = 25;
/// Seeds and steps on the embedded log.
const EMBEDDED_SEEDS: u64 = 60;
const EMBEDDED_STEPS: usize = 40;

/// Seeds to run: the one that is to be repeated, or as many as usual.
fn seeds(usual: u64) -> Vec<u64> {
    let number = |name: &str| env::var(name).ok().map(|number| number.parse().expect("the seed is a number"));
    match number("SIMULATION_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("SIMULATION_SEEDS").unwrap_or(usual)).collect(),
    }
}

/// Runs each seed; the first that fails says how to repeat it.
fn run(seeds: Vec<u64>, test: &str, mut simulate: impl FnMut(u64)) {
    for seed in seeds {
        let passed = panic::catch_unwind(AssertUnwindSafe(|| simulate(seed))).is_ok();
        assert!(
            passed,
            "seed {seed} failed; repeat it: SIMULATION_SEED={seed} cargo test -p stream-runtime --test keyed_simulation \
             {test} -- --nocapture"
        );
    }
}

/// What the senders send: mostly additions, some of them twice, some that nobody can read.
fn publish(simulation: &mut Simulation<'_, Ledger, Ledger>, number: &mut u64) {
    let topic = if simulation.random().random_bool(0.6) { EVENTS } else { ERASURES };
    let key = format!("key-{}", simulation.random().random_range(0..KEYS));
    *number += 1;
    let input = |input: &Input| serde_json::to_vec(input).unwrap();
    let value = match simulation.random().random_range(0..24) {
        0 => format!("no json {number}").into_bytes(),
        1..5 => input(&Input::Forget { topic: topic.to_owned() }),
        5 => input(&Input::Look),
        6 => input(&Input::Skip),
        _ => {
            let received_ms = simulation.now_ms();
            let at_ms = received_ms - [0, 10_000][simulation.random().random_range(0..2)];
            input(&Input::Add { topic: topic.to_owned(), number: *number, received_ms, at_ms })
        }
    };
    simulation.publish(NewRecord::new(topic, key, value));
}

/// Runs a seed to its end and holds what was written against the oracle.
fn simulate<'d>(seed: u64, tell: bool, disks: &'d mut Disks, kit: &Kit) -> Simulation<'d, Ledger, Ledger> {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let setup = Setup {
        inputs: owned(&[EVENTS, ERASURES]),
        first_inputs: owned(&[ERASURES]),
        changelog: STATE.to_owned(),
        outputs: owned(&[OUT, REJECTED]),
        partitions: 3,
        members: 3,
        start_ms: 1_000_000,
    };
    let mut simulation = Simulation::new(seed, setup, Arc::new(Ledger), Arc::new(Ledger), disks, kit).unwrap();
    if tell {
        simulation.tell();
    }
    let mut number = 0;
    for _ in 0..STEPS {
        if simulation.random().random_bool(0.3) {
            for _ in 0..simulation.random().random_range(1..6) {
                publish(&mut simulation, &mut number);
            }
        }
        simulation.act();
    }
    simulation.finish();
    ledger::check(|topic| simulation.written(topic));
    simulation
}

/// All that happened and was written.
fn told(simulation: &Simulation<'_, Ledger, Ledger>) -> Vec<String> {
    let mut told = simulation.trace().to_vec();
    for topic in [EVENTS, ERASURES, STATE, OUT, REJECTED] {
        for Written { record, committed, .. } in simulation.written(topic) {
            // A changelog's identity is another one each time.
            let value = record.value.filter(|_| !is_marker(record.key.as_deref()));
            told.push(format!(
                "{topic}[{}]@{} {:?} {value:?} {committed}",
                record.partition, record.offset, record.key
            ));
        }
    }
    told
}

#[test]
fn every_input_is_applied_once_whatever_happens_to_the_members() {
    let _scenario = fail::FailScenario::setup();
    let (mut disks, kit) = (Disks::new().unwrap(), Kit::for_test());
    let tell = env::var("SIMULATION_SEED").is_ok();
    run(seeds(SEEDS), "every_input_is_applied_once_whatever_happens_to_the_members", |seed| {
        simulate(seed, tell, &mut disks, &kit);
    });
}

#[test]
fn a_seed_repeats_itself_exactly() {
    let _scenario = fail::FailScenario::setup();
    let (mut disks, kit) = (Disks::new().unwrap(), Kit::for_test());
    run(seeds(REPEATED_SEEDS), "a_seed_repeats_itself_exactly", |seed| {
        let first = told(&simulate(seed, false, &mut disks, &kit));
        let second = told(&simulate(seed, false, &mut disks, &kit));
        let difference = first.iter().zip(&second).position(|(first, second)| first != second);
        if let Some(at) = difference {
            panic!("seed {seed} went another way at {at}:\n{:#?}\n{:#?}", &first[..=at], &second[at]);
        }
        assert_eq!(first.len(), second.len(), "seed {seed} went on longer the second time");
    });
}

#[test]
fn every_input_is_applied_once_whatever_crashes_on_the_embedded_log() {
    let _scenario = fail::FailScenario::setup();
    simulation::silence_failpoints();
    run(seeds(EMBEDDED_SEEDS), "every_input_is_applied_once_whatever_crashes_on_the_embedded_log", |seed| {
        simulation::simulate(seed, EMBEDDED_STEPS, &Json::default(), 0, |clock| Arc::new(in_memory(clock)));
    });
}
