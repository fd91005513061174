//! Seeded simulations of the keyed runtime on the embedded log: crashes at every dangerous line.
//!
//! A crash is a panic at a named place, or the worker dropped between two steps. `SIMULATION_SEEDS` sets how many
//! seeds are run, `SIMULATION_SEED` repeats one.

mod support;

use std::{env, panic, sync::Arc};

use stream_runtime::keyed::test_driver::in_memory;
use support::{simulation, tally::Json};

const SEEDS: u64 = 200;
const STEPS: usize = 40;

fn simulate(seed: u64) {
    simulation::simulate(seed, STEPS, &Json::default(), 0, |clock| Arc::new(in_memory(clock)));
}

#[test]
fn every_input_is_applied_once_whatever_crashes() {
    let _scenario = fail::FailScenario::setup();
    simulation::silence_failpoints();
    if let Ok(seed) = env::var("SIMULATION_SEED") {
        return simulate(seed.parse().unwrap());
    }
    let seeds = env::var("SIMULATION_SEEDS").map_or(SEEDS, |seeds| seeds.parse().unwrap());
    for seed in 0..seeds {
        let passed = panic::catch_unwind(|| simulate(seed)).is_ok();
        assert!(passed, "seed {seed} failed; repeat it with SIMULATION_SEED={seed}");
    }
}
