//! What restores must bring back, and from what.

mod support;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use stream_runtime::{
    keyed::{
        is_marker,
        test_driver::{ManualClock, Setup, TestDriver, in_memory},
    },
    log::NewRecord,
};
use support::{
    faulty::{Faults, FaultyLog},
    folder,
    tally::{FIRST, Json, OPEN_MS, OUT, REJECTED, STATE, Tally, add, final_states, forget, restored},
};

type Driver = TestDriver<Tally, Json>;

fn driver() -> Driver {
    TestDriver::new(&Setup::new(&[FIRST], STATE, &[OUT, REJECTED]), Tally { open_ms: OPEN_MS }, Json::default())
        .unwrap()
}

fn metric(driver: &Driver, line: &str) -> bool {
    driver.kit().metrics().render().lines().any(|it| it == line)
}

#[test]
fn the_first_record_of_a_changelog_says_which_it_is_and_is_written_once() {
    let mut driver = driver();
    driver.pipe_input(add(FIRST, "a", 0, 1)).unwrap();
    driver.commit().unwrap();
    driver.crash_and_restart().unwrap();
    driver.pipe_input(add(FIRST, "b", 0, 1)).unwrap();
    driver.commit().unwrap();
    driver.lose_state_and_restart().unwrap();
    driver.pipe_input(add(FIRST, "c", 0, 1)).unwrap();
    driver.commit().unwrap();
    let changelog = driver.read_all(STATE).unwrap();
    let markers: Vec<bool> = changelog.iter().map(|record| is_marker(record.key.as_deref())).collect();
    assert_eq!(markers, [true, false, false, false]);
}

#[test]
fn a_changelog_of_a_program_before_markers_and_due_times_is_restored_with_its_timers() {
    let mut driver = driver();
    driver.pipe_input(add(FIRST, "own", 0, 1)).unwrap();
    driver.commit().unwrap();
    // As that program wrote them: no headers.
    let old = [
        ("old", r#"{"count":3,"sum":5,"first_at_ms":10,"closed":false,"revision":1}"#),
        ("older", r#"{"count":1,"sum":1,"first_at_ms":10,"closed":false,"revision":1}"#),
        ("older", r#"{"count":2,"sum":2,"first_at_ms":400,"closed":false,"revision":2}"#),
    ];
    for (key, state) in old {
        driver.publish(NewRecord::new(STATE, key, state)).unwrap();
    }
    driver.lose_state_and_restart().unwrap();
    driver.advance_to(10 + OPEN_MS).unwrap();
    driver.commit().unwrap();
    let closed = |driver: &mut Driver| -> Vec<String> {
        let records = driver.read_output(OUT).unwrap();
        records
            .iter()
            .map(|record| String::from_utf8(record.value.as_ref().unwrap().to_vec()).unwrap())
            .filter(|text| text.contains(r#""closed":true"#))
            .collect()
    };
    let first = closed(&mut driver);
    assert_eq!(first.len(), 2, "{first:?}");
    assert!(first.iter().any(|text| text.contains(r#""key":"old""#)), "{first:?}");
    driver.advance_to(400 + OPEN_MS).unwrap();
    driver.commit().unwrap();
    let second = closed(&mut driver);
    assert!(second.len() == 1 && second[0].contains(r#""key":"older""#), "{second:?}");
}

#[test]
fn a_process_that_dies_while_its_changelog_is_slow_finds_its_store_again() {
    let clock = ManualClock::at(0);
    let faults = Faults::default();
    let log = Arc::new(FaultyLog { inner: Arc::new(in_memory(&clock)), faults: faults.clone() });
    let setup = Setup::new(&[FIRST], STATE, &[OUT, REJECTED]);
    let mut driver = Driver::on(log, clock, &setup, Tally { open_ms: OPEN_MS }, Json::default()).unwrap();
    for number in 0..100 {
        driver.publish(add(FIRST, &format!("key-{number}"), 0, 1)).unwrap();
    }
    driver.commit().unwrap();
    driver.crash_and_restart().unwrap();
    driver.settle().unwrap();
    // It dies when it has asked which changelog this is, and was told nothing.
    let before = restored(&driver);
    driver.pipe_input(add(FIRST, "one more", 0, 1)).unwrap();
    driver.commit().unwrap();
    faults.keep_waiting(Some(STATE));
    driver.crash_and_restart().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !faults.has_waited() {
        assert!(Instant::now() < deadline, "the changelog was not asked for");
        driver.step().unwrap();
    }
    driver
        .restart_after(|_| {
            faults.keep_waiting(None);
            Ok(())
        })
        .unwrap();
    driver.settle().unwrap();
    let read = restored(&driver) - before;
    assert!(read < 10, "{read} records were read");
}

#[test]
fn timers_that_a_restore_has_left_over_neither_fire_nor_stay() {
    let mut driver = driver();
    let old = tempfile::tempdir().unwrap();
    // The due time of each moves to an earlier one, so that a store that is behind has timers that nobody wants.
    for round in 0..4 {
        for number in 0..50 {
            driver.publish(add(FIRST, &format!("key-{number}"), 4_000 - round * 1_000 + number, 1)).unwrap();
        }
        driver.commit().unwrap();
        if round == 1 {
            driver.restart_after(|state| folder::copy(state, old.path())).unwrap();
        }
    }
    driver.publish(forget(FIRST, "key-7")).unwrap();
    driver.commit().unwrap();
    driver.restart_after(|state| folder::copy(old.path(), state)).unwrap();
    driver.settle().unwrap();
    driver.advance_to(20_000).unwrap();
    driver.commit().unwrap();
    assert!(metric(&driver, "ttf_test_timers_fired_total 49"), "{}", driver.kit().metrics().render());
    let states = final_states(&driver.read_all(OUT).unwrap());
    assert!(states.values().all(|state| state.closed && state.revision == 5), "{states:?}");
    // Nothing is due any more: a pass of the clock commits nothing.
    let before = driver.read_all(STATE).unwrap().len();
    driver.advance_to(40_000).unwrap();
    driver.commit().unwrap();
    assert_eq!(driver.read_all(STATE).unwrap().len(), before);
}

#[test]
fn a_key_of_the_runtimes_own_is_poison() {
    let mut driver = driver();
    driver.pipe_input(add(FIRST, "\0changelog-id", 0, 1)).unwrap();
    driver.pipe_input(add(FIRST, "a", 0, 1)).unwrap();
    driver.commit().unwrap();
    assert_eq!(driver.read_all(REJECTED).unwrap().len(), 1);
    driver.lose_state_and_restart().unwrap();
    driver.pipe_input(add(FIRST, "a", 0, 1)).unwrap();
    driver.commit().unwrap();
    assert_eq!(final_states(&driver.read_all(OUT).unwrap())["a"].count, 2);
}
