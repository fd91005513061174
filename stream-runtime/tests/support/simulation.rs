//! A seeded run of the keyed runtime: random inputs, crashes and faults, held against an oracle.

use std::{
    collections::BTreeMap,
    panic::{self, AssertUnwindSafe},
    sync::Arc,
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use stream_runtime::{
    keyed::{
        COMMIT_FAIL_POINTS,
        test_driver::{ManualClock, Setup, TestDriver},
    },
    log::{Log, Verdict},
};

use super::{
    faulty::{Call, Faults, FaultyLog},
    tally::{FIRST, Json, OPEN_MS, OUT, REJECTED, SECOND, STATE, Tally, Totals, add, final_states, garbage},
};

const PARTITIONS: i32 = 3;
const KEYS: u32 = 12;

const FAULTS: [(Call, Verdict); 8] = [
    (Call::Begin, Verdict::RollBack),
    (Call::Produce, Verdict::RollBack),
    (Call::Produce, Verdict::Retry),
    (Call::Commit, Verdict::RollBack),
    (Call::Commit, Verdict::Retry),
    (Call::Commit, Verdict::Fenced),
    (Call::Commit, Verdict::Indeterminate),
    (Call::Committed, Verdict::Indeterminate),
];

/// What the inputs add up to, whatever happens on the way.
#[derive(Default)]
struct Oracle {
    states: BTreeMap<String, Totals>,
    poison: usize,
}

impl Oracle {
    fn add(&mut self, key: &str, at_ms: i64, value: i64) {
        let state = self.states.entry(key.to_owned()).or_insert(Totals { first_at_ms: at_ms, ..Totals::default() });
        state.count += 1;
        state.sum += value;
        state.first_at_ms = state.first_at_ms.min(at_ms);
    }

    fn check(&self, names: &Json, driver: &mut TestDriver<Tally, Json>) {
        let found = final_states(&driver.read_all(&names.topic(OUT)).unwrap());
        assert_eq!(found.keys().collect::<Vec<_>>(), self.states.keys().collect::<Vec<_>>());
        for (key, expected) in &self.states {
            let found = &found[key];
            assert!(found.closed, "the timer of {key} did not fire");
            let expected = Totals { closed: true, revision: found.revision, ..expected.clone() };
            assert_eq!(*found, expected, "{key}");
        }
        assert_eq!(driver.read_all(&names.topic(REJECTED)).unwrap().len(), self.poison);
    }
}

fn crash_at(point: &str, driver: &mut TestDriver<Tally, Json>) {
    fail::cfg(point, "panic").unwrap();
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| driver.commit()));
    fail::remove(point);
    if let Ok(survived) = outcome {
        // Nothing was open, so the place was not passed.
        survived.unwrap();
    }
    driver.crash_and_restart().unwrap();
}

/// Runs `steps` random steps on a log made with the clock; `names` keeps runs on one log apart.
pub fn simulate(seed: u64, steps: usize, names: &Json, start_ms: i64, open: impl FnOnce(&ManualClock) -> Arc<dyn Log>) {
    let mut random = StdRng::seed_from_u64(seed);
    let clock = ManualClock::at(start_ms);
    let faults = Faults::default();
    let log = FaultyLog { inner: open(&clock), faults: faults.clone() };
    let (first, second) = (names.topic(FIRST), names.topic(SECOND));
    let setup = Setup {
        name: names.topic("test-driver"),
        partitions: PARTITIONS,
        start_ms,
        ..Setup::new(&[&first, &second], &names.topic(STATE), &[&names.topic(OUT), &names.topic(REJECTED)])
    };
    let mut driver = TestDriver::on(Arc::new(log), clock, &setup, Tally { open_ms: OPEN_MS }, names.clone()).unwrap();
    let mut oracle = Oracle::default();

    for _ in 0..steps {
        match random.random_range(0..100) {
            0..55 => {
                for _ in 0..random.random_range(1..6) {
                    let topic = if random.random_bool(0.5) { &first } else { &second };
                    let key = format!("key-{}", random.random_range(0..KEYS));
                    if random.random_bool(0.05) {
                        oracle.poison += 1;
                        driver.publish(garbage(topic, &key)).unwrap();
                    } else {
                        let at_ms = start_ms + random.random_range(0..5_000);
                        let value = random.random_range(-9..100);
                        oracle.add(&key, at_ms, value);
                        driver.publish(add(topic, &key, at_ms, value)).unwrap();
                    }
                }
            }
            55..65 => driver.step().unwrap(),
            65..75 => driver.commit().unwrap(),
            75..82 => driver.advance_to(driver.now_ms() + random.random_range(1..1_500)).unwrap(),
            82..88 => driver.crash_and_restart().unwrap(),
            88..94 => crash_at(COMMIT_FAIL_POINTS[random.random_range(0..COMMIT_FAIL_POINTS.len())], &mut driver),
            94..99 => {
                let (call, verdict) = FAULTS[random.random_range(0..FAULTS.len())];
                // One at a time: fenced twice ends the process, as it should.
                if faults.is_empty() {
                    faults.add(call, verdict);
                }
                driver.commit().unwrap();
            }
            _ => driver.lose_state_and_restart().unwrap(),
        }
    }
    // A second commit for what the first one may have had to roll back.
    driver.commit().unwrap();
    driver.commit().unwrap();
    driver.advance_to(start_ms + 1_000_000).unwrap();
    for _ in 0..3 {
        driver.commit().unwrap();
    }
    oracle.check(names, &mut driver);
}

/// Lets the crashes that are meant pass in silence; what an assertion has to say is still printed.
pub fn silence_failpoints() {
    let default = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let message = info.payload().downcast_ref::<String>().map_or("", String::as_str);
        if !message.starts_with("failpoint ") {
            default(info);
        }
    }));
}
