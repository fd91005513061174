//! The keyed runtime on Apache Kafka. Needs the brokers named by `TTF_TEST_KAFKA`.

mod support;

use std::time::{Duration, Instant};

use stream_runtime::log::{Isolation, TopicPartition};
use support::{
    kafka::{driver, fresh_names, open},
    simulation,
    tally::{FIRST, OPEN_MS, OUT, add, final_states},
};

const CALL: Duration = Duration::from_secs(10);
const STEPS: usize = 25;

#[test]
fn every_input_is_applied_once_whatever_crashes() {
    let _scenario = fail::FailScenario::setup();
    simulation::silence_failpoints();
    let seeds = std::env::var("SIMULATION_SEEDS").map_or(3, |seeds| seeds.parse().unwrap());
    for seed in 0..seeds {
        simulation::simulate(seed, STEPS, &fresh_names(), service_kit::clock::now_ms(), |_| open());
    }
}

#[test]
fn a_timer_fires_though_only_a_rolled_back_transaction_follows_the_last_record() {
    let names = fresh_names();
    let mut driver = driver(&names);
    let start_ms = driver.now_ms();
    driver.pipe_input(add(&names.topic(FIRST), "a", start_ms, 1)).unwrap();
    driver.commit().unwrap();

    let log = open();
    let mut other = log.transactor(&names.topic("other")).unwrap();
    other.init(CALL).unwrap();
    let mut roll_back = |key: &str| {
        let at = TopicPartition::new(names.topic(FIRST), 0);
        let end = || log.end_offset(&at, Isolation::ReadUncommitted, CALL).unwrap();
        let before = end();
        other.begin().unwrap();
        other.produce(&add(&names.topic(FIRST), key, start_ms, 1_000)).unwrap();
        // Until it was written there is nothing to roll back.
        let deadline = Instant::now() + CALL;
        while end() == before {
            assert!(Instant::now() < deadline, "the record was not written");
        }
        other.abort(CALL).unwrap();
    };
    roll_back("a");

    driver.advance_to(start_ms + OPEN_MS).unwrap();
    driver.commit().unwrap();
    let state = &final_states(&driver.read_all(&names.topic(OUT)).unwrap())["a"];
    assert!(state.closed);
    assert_eq!(state.count, 1);
    // The same right after a start, when nothing was read yet.
    driver.pipe_input(add(&names.topic(FIRST), "b", start_ms + 5_000, 1)).unwrap();
    driver.commit().unwrap();
    roll_back("b");
    driver.crash_and_restart().unwrap();
    driver.advance_to(start_ms + 20_000).unwrap();
    driver.commit().unwrap();
    assert!(final_states(&driver.read_all(&names.topic(OUT)).unwrap())["b"].closed);
}

#[test]
fn a_producer_that_is_fenced_starts_over_and_loses_nothing() {
    let names = fresh_names();
    let mut driver = driver(&names);
    let now_ms = driver.now_ms();
    driver.pipe_input(add(&names.topic(FIRST), "a", now_ms, 1)).unwrap();
    driver.commit().unwrap();
    driver.pipe_input(add(&names.topic(FIRST), "a", now_ms, 2)).unwrap();
    // Another producer under the same transactional id.
    open().transactor(&names.topic("test-driver-0-0")).unwrap().init(CALL).unwrap();
    driver.commit().unwrap();
    driver.commit().unwrap();
    let state = &final_states(&driver.read_all(&names.topic(OUT)).unwrap())["a"];
    assert_eq!((state.count, state.sum, state.revision), (2, 3, 2));
    assert!(driver.kit().metrics().render().contains(r#"ttf_test_aborts_total{class="fenced"} 1"#));
}

#[test]
fn a_wiped_store_is_restored_from_the_changelog() {
    let names = fresh_names();
    let mut driver = driver(&names);
    let now_ms = driver.now_ms();
    for number in 0..200 {
        driver.publish(add(&names.topic(FIRST), &format!("key-{}", number % 50), now_ms, 1)).unwrap();
    }
    driver.commit().unwrap();
    driver.lose_state_and_restart().unwrap();
    driver.pipe_input(add(&names.topic(FIRST), "key-0", now_ms, 1)).unwrap();
    driver.commit().unwrap();
    let states = final_states(&driver.read_all(&names.topic(OUT)).unwrap());
    assert_eq!(states.len(), 50);
    assert_eq!(states["key-0"].count, 5);
}
