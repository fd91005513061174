//! The keyed runtime on the embedded log: what it promises, one behaviour at a time.

mod support;

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use stream_runtime::{
    keyed::{
        KeyedOptions,
        test_driver::{ManualClock, Setup, TestDriver, in_memory},
    },
    log::Verdict,
};
use support::{
    faulty::{Call, Faults, FaultyLog},
    tally::{FIRST, Json, OPEN_MS, OUT, REJECTED, SECOND, STATE, Tally, add, final_states, forget, garbage},
};

type Driver = TestDriver<Tally, Json>;

fn setup() -> Setup {
    Setup { partitions: 2, ..Setup::new(&[FIRST, SECOND], STATE, &[OUT, REJECTED]) }
}

fn driver() -> Driver {
    TestDriver::new(&setup(), Tally { open_ms: OPEN_MS }, Json::default()).unwrap()
}

fn faulty_driver() -> (Driver, Faults) {
    let clock = ManualClock::at(0);
    let faults = Faults::default();
    let log = FaultyLog { inner: Arc::new(in_memory(&clock)), faults: faults.clone() };
    let driver = TestDriver::on(Arc::new(log), clock, &setup(), Tally { open_ms: OPEN_MS }, Json::default()).unwrap();
    (driver, faults)
}

#[test]
fn inputs_of_all_topics_come_together_in_one_output_per_transaction() {
    let mut driver = driver();
    driver.pipe_input(add(FIRST, "a", 0, 1)).unwrap();
    driver.pipe_input(add(SECOND, "a", 0, 2)).unwrap();
    assert_eq!(driver.read_output(OUT).unwrap().len(), 0, "nothing is seen before the commit");
    driver.commit().unwrap();
    let outputs = driver.read_output(OUT).unwrap();
    assert_eq!(outputs.len(), 1);
    let states = final_states(&outputs);
    assert_eq!((states["a"].count, states["a"].sum), (2, 3));
}

#[test]
fn a_crash_drops_what_is_not_committed_and_applies_it_again() {
    let mut driver = driver();
    driver.pipe_input(add(FIRST, "a", 0, 1)).unwrap();
    driver.commit().unwrap();
    driver.pipe_input(add(FIRST, "a", 0, 10)).unwrap();
    driver.crash_and_restart().unwrap();
    driver.commit().unwrap();
    let states = final_states(&driver.read_all(OUT).unwrap());
    assert_eq!((states["a"].count, states["a"].sum, states["a"].revision), (2, 11, 2));
}

#[test]
fn state_and_timers_come_back_from_the_changelog() {
    let mut driver = driver();
    for key in ["a", "b", "c"] {
        driver.pipe_input(add(FIRST, key, 0, 1)).unwrap();
    }
    driver.commit().unwrap();
    driver.pipe_input(forget(SECOND, "b")).unwrap();
    driver.commit().unwrap();
    driver.lose_state_and_restart().unwrap();
    driver.advance_to(OPEN_MS).unwrap();
    driver.commit().unwrap();
    let states = final_states(&driver.read_all(OUT).unwrap());
    assert_eq!(states.keys().collect::<Vec<_>>(), ["a", "c"]);
    assert!(states.values().all(|state| state.closed && state.revision == 2));
}

#[test]
fn a_timer_fires_once_when_it_is_due_and_complete() {
    let mut driver = driver();
    driver.pipe_input(add(FIRST, "a", 0, 1)).unwrap();
    driver.commit().unwrap();
    driver.advance_to(OPEN_MS - 1).unwrap();
    driver.commit().unwrap();
    assert!(!final_states(&driver.read_all(OUT).unwrap())["a"].closed);
    driver.advance_to(OPEN_MS).unwrap();
    // Fired, not committed: it fires again.
    driver.crash_and_restart().unwrap();
    driver.commit().unwrap();
    driver.advance_to(10 * OPEN_MS).unwrap();
    driver.commit().unwrap();
    let state = &final_states(&driver.read_all(OUT).unwrap())["a"];
    assert!(state.closed);
    assert_eq!(state.revision, 2);
}

#[test]
fn a_timer_that_is_set_in_the_past_fires_too() {
    let mut driver = driver();
    driver.pipe_input(add(FIRST, "a", 5_000, 1)).unwrap();
    driver.commit().unwrap();
    driver.advance_to(20_000).unwrap();
    driver.commit().unwrap();
    // Due before the one that has fired.
    driver.pipe_input(add(FIRST, "b", 0, 1)).unwrap();
    driver.commit().unwrap();
    driver.commit().unwrap();
    assert!(final_states(&driver.read_all(OUT).unwrap())["b"].closed);
}

#[test]
fn a_new_rule_for_timers_reaches_states_that_nothing_touches() {
    let setup = Setup { partitions: 1, ..setup() };
    let mut driver = TestDriver::new(&setup, Tally { open_ms: 1_000_000 }, Json::default()).unwrap();
    driver.pipe_input(add(FIRST, "a", 0, 1)).unwrap();
    driver.commit().unwrap();
    // Another transaction, so that the restart does not read the first one's changelog again.
    driver.pipe_input(add(FIRST, "b", 0, 1)).unwrap();
    driver.commit().unwrap();
    driver.restart_as(Tally { open_ms: 10 }, "").unwrap();
    driver.advance_to(10).unwrap();
    driver.commit().unwrap();
    assert!(!final_states(&driver.read_all(OUT).unwrap())["a"].closed, "the index is still the old one");
    driver.restart_as(Tally { open_ms: 10 }, "another").unwrap();
    driver.settle().unwrap();
    driver.commit().unwrap();
    assert!(final_states(&driver.read_all(OUT).unwrap())["a"].closed);
}

#[test]
fn poison_goes_to_the_rejected_topic_once_and_does_not_stop_the_rest() {
    let mut driver = driver();
    driver.pipe_input(garbage(FIRST, "a")).unwrap();
    driver.pipe_input(add(FIRST, "a", 0, 1)).unwrap();
    driver.crash_and_restart().unwrap();
    driver.commit().unwrap();
    driver.crash_and_restart().unwrap();
    driver.commit().unwrap();
    let rejected = driver.read_all(REJECTED).unwrap();
    assert_eq!(rejected.len(), 1);
    assert_eq!(rejected[0].as_ref().header("code"), Some(&b"undecodable"[..]));
    assert_eq!(final_states(&driver.read_all(OUT).unwrap())["a"].count, 1);
    assert!(driver.kit().metrics().render().contains(r#"ttf_dlq_records_total{reason="undecodable",topic="first"}"#));
}

#[test]
fn too_much_poison_stops_the_process_before_it_is_set_aside() {
    let mut driver = driver();
    driver
        .restart_with(|options| {
            options.poison_share = 0.5;
            options.poison_minimum = 10;
        })
        .unwrap();
    for _ in 0..9 {
        driver.pipe_input(garbage(FIRST, "a")).unwrap();
    }
    let error = driver.pipe_input(garbage(FIRST, "a")).unwrap_err();
    assert!(error.to_string().contains("10 of the last 10 records of first"), "{error}");
}

#[test]
fn every_certain_rollback_is_undone_and_done_again() {
    let cases = [
        (Call::Begin, Verdict::RollBack),
        (Call::Produce, Verdict::RollBack),
        (Call::Produce, Verdict::Fenced),
        (Call::Commit, Verdict::RollBack),
        (Call::Commit, Verdict::Retry),
        (Call::Commit, Verdict::Fenced),
        (Call::Commit, Verdict::Indeterminate),
        (Call::Committed, Verdict::Indeterminate),
    ];
    for (call, verdict) in cases {
        let (mut driver, faults) = faulty_driver();
        driver.pipe_input(add(FIRST, "a", 0, 1)).unwrap();
        driver.commit().unwrap();
        driver.pipe_input(add(FIRST, "a", 0, 2)).unwrap();
        driver.pipe_input(garbage(SECOND, "a")).unwrap();
        faults.add(call, verdict);
        driver.commit().unwrap();
        assert!(faults.is_empty(), "{call:?} was not made");
        driver.commit().unwrap();
        let states = final_states(&driver.read_all(OUT).unwrap());
        assert_eq!((states["a"].count, states["a"].sum, states["a"].revision), (2, 3, 2), "{call:?} {verdict:?}");
        assert_eq!(driver.read_all(REJECTED).unwrap().len(), 1, "{call:?} {verdict:?}");
        if verdict != Verdict::Retry {
            let counted = format!(r#"ttf_test_aborts_total{{class="{}"}} 1"#, verdict.as_str());
            assert!(driver.kit().metrics().render().contains(&counted), "{counted}");
        }
    }
}

#[test]
fn an_abort_that_fails_needs_a_new_producer() {
    let (mut driver, faults) = faulty_driver();
    driver.pipe_input(add(FIRST, "a", 0, 1)).unwrap();
    faults.add(Call::Commit, Verdict::RollBack);
    faults.add(Call::Abort, Verdict::Indeterminate);
    driver.commit().unwrap();
    assert!(faults.is_empty());
    driver.commit().unwrap();
    assert_eq!(final_states(&driver.read_all(OUT).unwrap())["a"].count, 1);
}

#[test]
fn fenced_twice_without_a_commit_ends_the_process() {
    let (mut driver, faults) = faulty_driver();
    driver.pipe_input(add(FIRST, "a", 0, 1)).unwrap();
    faults.add(Call::Commit, Verdict::Fenced);
    driver.commit().unwrap();
    faults.add(Call::Commit, Verdict::Fenced);
    let error = driver.commit().unwrap_err();
    assert!(format!("{error:#}").contains("fenced twice"), "{error:#}");
}

#[test]
fn a_replaced_member_ends_the_process_and_names_itself() {
    let (mut driver, faults) = faulty_driver();
    driver.pipe_input(add(FIRST, "a", 0, 1)).unwrap();
    faults.add(Call::Commit, Verdict::Replaced);
    let error = driver.commit().unwrap_err();
    assert!(format!("{error:#}").contains("another process runs as `test-driver-0-0`"), "{error:#}");
}

#[test]
fn a_stale_member_rolls_back_and_stays() {
    let (mut driver, faults) = faulty_driver();
    driver.pipe_input(add(FIRST, "a", 0, 1)).unwrap();
    faults.add(Call::Commit, Verdict::Stale);
    driver.commit().unwrap();
    driver.commit().unwrap();
    assert_eq!(driver.read_all(OUT).unwrap().len(), 0, "it waits for the group");
    driver.crash_and_restart().unwrap();
    driver.commit().unwrap();
    assert_eq!(final_states(&driver.read_all(OUT).unwrap())["a"].count, 1);
}

#[test]
fn a_commit_whose_outcome_stays_unknown_gets_a_new_producer() {
    let (mut driver, faults) = faulty_driver();
    driver.restart_with(|options| options.retry_timeout = Duration::from_millis(30)).unwrap();
    driver.pipe_input(add(FIRST, "a", 0, 1)).unwrap();
    // Committed, and not told so until the patience is over.
    faults.add(Call::Committed, Verdict::Retry);
    for _ in 0..4 {
        faults.add(Call::Commit, Verdict::Retry);
    }
    driver.commit().unwrap();
    driver.commit().unwrap();
    let states = final_states(&driver.read_all(OUT).unwrap());
    assert_eq!((states["a"].count, states["a"].revision), (1, 1));
    assert!(driver.kit().metrics().render().contains(r#"ttf_test_aborts_total{class="indeterminate"} 1"#));
}

#[test]
fn a_log_that_lets_no_producer_in_is_waited_for() {
    let (mut driver, faults) = faulty_driver();
    driver.restart_with(|options| options.retry_timeout = Duration::from_millis(1)).unwrap();
    driver.pipe_input(add(FIRST, "a", 0, 1)).unwrap();
    faults.add(Call::Commit, Verdict::Fenced);
    for verdict in [Verdict::Retry, Verdict::Retry, Verdict::Indeterminate, Verdict::Fenced, Verdict::Retry] {
        faults.add(Call::Init, verdict);
    }
    driver.commit().unwrap();
    driver.commit().unwrap();
    assert!(faults.is_empty());
    assert_eq!(final_states(&driver.read_all(OUT).unwrap())["a"].revision, 1);
}

#[test]
fn what_no_new_producer_can_mend_ends_the_process() {
    let (mut driver, faults) = faulty_driver();
    driver.pipe_input(add(FIRST, "a", 0, 1)).unwrap();
    faults.add(Call::Commit, Verdict::Fatal);
    let error = driver.commit().unwrap_err();
    assert!(error.to_string().contains("cannot go on"), "{error:#}");
}

#[test]
fn a_record_that_cannot_be_read_yet_waits_and_holds_back_its_own_partition_only() {
    let codec = Json::default();
    let mut driver = TestDriver::new(&setup(), Tally { open_ms: OPEN_MS }, codec.clone()).unwrap();
    codec.away.store(true, Ordering::Relaxed);
    let partition_of = |key: &str| stream_runtime::log::partitioner::partition_for(key.as_bytes(), 2);
    let elsewhere = ["a", "b", "c", "d", "e"].into_iter().find(|key| partition_of(key) != partition_of("later"));
    let elsewhere = elsewhere.unwrap();
    driver.publish(add(FIRST, "later", 0, 1)).unwrap();
    driver.publish(add(FIRST, elsewhere, 0, 10)).unwrap();
    driver.commit().unwrap();
    let states = final_states(&driver.read_all(OUT).unwrap());
    assert_eq!(states.keys().collect::<Vec<_>>(), [elsewhere]);
    // Others go on meanwhile, and nothing that waits is forgotten by a crash.
    driver.publish(add(FIRST, elsewhere, 0, 10)).unwrap();
    driver.publish(add(FIRST, "later", 0, 2)).unwrap();
    driver.commit().unwrap();
    driver.crash_and_restart().unwrap();
    driver.commit().unwrap();
    codec.away.store(false, Ordering::Relaxed);
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        driver.commit().unwrap();
        let states = final_states(&driver.read_all(OUT).unwrap());
        if let Some(later) = states.get("later").filter(|state| state.count == 2) {
            assert_eq!((later.sum, states[elsewhere].count), (3, 2));
            break;
        }
        assert!(Instant::now() < deadline, "it waits though nothing is away: {states:?}");
    }
    assert_eq!(driver.read_all(REJECTED).unwrap().len(), 0);
}

#[test]
fn topics_with_unequal_partition_counts_are_refused() {
    let clock = ManualClock::at(0);
    let log = Arc::new(in_memory(&clock));
    let one = Setup { partitions: 1, ..Setup::new(&[FIRST], STATE, &[]) };
    drop(TestDriver::on(log.clone(), clock.clone(), &one, Tally { open_ms: 1 }, Json::default()).unwrap());
    let other = Setup { partitions: 2, ..Setup::new(&[SECOND], STATE, &[]) };
    let Err(error) = TestDriver::on(log, clock, &other, Tally { open_ms: 1 }, Json::default()) else {
        panic!("was accepted")
    };
    assert!(error.to_string().contains("equal partition counts"), "{error}");
}

#[test]
fn grace_delays_a_timer() {
    let setup = Setup { timer_grace: Duration::from_secs(5), ..setup() };
    let mut driver = TestDriver::new(&setup, Tally { open_ms: OPEN_MS }, Json::default()).unwrap();
    driver.pipe_input(add(FIRST, "a", 0, 1)).unwrap();
    driver.commit().unwrap();
    driver.advance_to(OPEN_MS + 4_999).unwrap();
    driver.commit().unwrap();
    assert!(!final_states(&driver.read_all(OUT).unwrap())["a"].closed);
    driver.advance_to(OPEN_MS + 5_000).unwrap();
    driver.commit().unwrap();
    assert!(final_states(&driver.read_all(OUT).unwrap())["a"].closed);
}

#[test]
fn inputs_that_go_first_are_read_before_the_others() {
    for (first_inputs, left) in [(vec![], 0), (vec![SECOND.to_owned()], 3)] {
        let setup = Setup { partitions: 1, ..setup() };
        let mut driver = TestDriver::new(&setup, Tally { open_ms: OPEN_MS }, Json::default()).unwrap();
        driver.restart_with(|options| options.first_inputs = first_inputs).unwrap();
        for _ in 0..3 {
            driver.publish(add(FIRST, "a", 0, 1)).unwrap();
        }
        driver.publish(forget(SECOND, "a")).unwrap();
        driver.commit().unwrap();
        let states = final_states(&driver.read_all(OUT).unwrap());
        assert_eq!(states.get("a").map_or(0, |state| state.count), left);
    }
}

#[test]
fn an_input_that_goes_first_and_does_not_move_is_overruled_loudly() {
    let (mut driver, faults) = faulty_driver();
    faults.never_reach_the_end_of(SECOND);
    driver
        .restart_with(|options| {
            options.first_inputs = vec![SECOND.to_owned()];
            options.first_patience = Duration::from_secs(3600);
        })
        .unwrap();
    driver.publish(add(FIRST, "a", 0, 1)).unwrap();
    let figures = |driver: &Driver| driver.kit().metrics().render();
    let held_back = |driver: &Driver| {
        (0..2).all(|at| figures(driver).contains(&format!(r#"ttf_test_inputs_held_back{{partition="{at}"}} 1"#)))
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    while !held_back(&driver) {
        assert!(Instant::now() < deadline, "nothing is held back");
        driver.step().unwrap();
    }
    for _ in 0..50 {
        driver.step().unwrap();
    }
    assert!(figures(&driver).contains("ttf_test_records_in_total 0"), "held back");

    driver.restart_with_open(|options| options.first_patience = Duration::from_millis(20)).unwrap();
    driver.commit().unwrap();
    assert_eq!(final_states(&driver.read_all(OUT).unwrap())["a"].count, 1);
    assert!(figures(&driver).contains("ttf_test_first_inputs_overruled_total"), "counted");
    assert!(!figures(&driver).contains("ttf_test_first_inputs_overruled_total 0"), "counted");
}

#[test]
fn a_partition_that_is_far_behind_does_not_keep_the_others_waiting() {
    const BACKLOG: u64 = 12_000;
    let mut driver = driver();
    driver.restart_with(|options| options.commit_records = 1_000).unwrap();
    driver.settle().unwrap();
    for _ in 0..BACKLOG {
        driver.publish(add(FIRST, "a", 0, 1).with_partition(0)).unwrap();
    }
    driver.publish(add(FIRST, "b", 0, 1).with_partition(1)).unwrap();
    for _ in 0..4 {
        driver.step().unwrap();
    }
    let states = final_states(&driver.read_all(OUT).unwrap());
    assert_eq!(states["b"].count, 1, "it is out after two commits");
    assert!(states["a"].count < BACKLOG / 2);
}

#[test]
fn a_transaction_is_committed_by_time_by_count_and_by_size() {
    type Change = fn(&mut KeyedOptions);
    let bounds: [(&str, Change, usize); 3] = [
        ("time", |options| options.commit_interval = Duration::ZERO, 1),
        ("count", |options| options.commit_records = 4, 4),
        ("size", |options| options.commit_bytes = 15_000, 40),
    ];
    for (bound, change, enough) in bounds {
        let mut driver = driver();
        driver.restart_with(change).unwrap();
        driver.settle().unwrap();
        for number in 1..enough {
            driver.publish(add(FIRST, &format!("key-{number}"), 0, 1)).unwrap();
            driver.step().unwrap();
            driver.step().unwrap();
            if number <= enough / 4 {
                assert_eq!(driver.read_all(OUT).unwrap().len(), 0, "{bound}: too early");
            }
        }
        driver.publish(add(FIRST, "key-0", 0, 1)).unwrap();
        driver.step().unwrap();
        driver.step().unwrap();
        assert!(!driver.read_all(OUT).unwrap().is_empty(), "{bound}: nothing was committed");
    }
}

#[test]
fn what_a_transaction_changes_in_memory_stays_bounded() {
    let mut driver = driver();
    driver.restart_with(|options| options.commit_bytes = 10_000).unwrap();
    for number in 0..6_000 {
        driver.publish(add(FIRST, &format!("key-{number}"), 0, 1)).unwrap();
    }
    driver.settle().unwrap();
    let committed = driver.read_all(OUT).unwrap().len();
    assert!(committed >= 5_000, "after one poll it is full and committed, though nobody asked: {committed}");
}
