//! Local state that was damaged on disk: restored from the changelog, or refused with a clear message; never wrong.

mod support;

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use stream_runtime::keyed::test_driver::{Setup, TestDriver};
use support::{
    folder::{copy, files},
    tally::{FIRST, Json, OPEN_MS, OUT, REJECTED, STATE, Snapshot, Tally, Totals, add, forget},
};

type Driver = TestDriver<Tally, Json>;

/// Enough that a restore writes tables.
const KEYS: usize = 12_000;
/// Keys that are looked at after each damage.
const LOOKED_AT: usize = 40;

fn driver() -> Driver {
    let setup = Setup::new(&[FIRST], STATE, &[OUT, REJECTED]);
    TestDriver::new(&setup, Tally { open_ms: OPEN_MS }, Json::default()).unwrap()
}

fn key(number: usize) -> String {
    format!("key-{number:05}")
}

/// What the outputs have said of each key so far. Fails when a revision is missing or comes twice.
#[derive(Default)]
struct Told(BTreeMap<String, Totals>);

impl Told {
    fn read(&mut self, driver: &mut Driver) {
        for record in driver.read_output(OUT).unwrap() {
            let snapshot: Snapshot = serde_json::from_slice(record.value.as_deref().unwrap()).unwrap();
            let known = self.0.remove(&snapshot.key);
            let Some(state) = snapshot.state else {
                assert!(known.is_some(), "{} was forgotten twice", snapshot.key);
                continue;
            };
            let (revision, count) = known.map_or((0, 0), |known| (known.revision, known.count));
            assert_eq!(state.revision, revision + 1, "revisions of {} are not one after the other", snapshot.key);
            assert_eq!(state.count, count + 1, "inputs of {} were lost or came twice", snapshot.key);
            self.0.insert(snapshot.key, state);
        }
    }
}

/// A driver whose store has tables, a journal behind them, and deletions in both.
fn filled(told: &mut Told) -> Driver {
    let mut driver = driver();
    for number in 0..KEYS {
        driver.publish(add(FIRST, &key(number), i64::MAX / 2, 1)).unwrap();
    }
    driver.commit().unwrap();
    for number in (0..KEYS).step_by(100) {
        driver.publish(forget(FIRST, &key(number))).unwrap();
    }
    driver.commit().unwrap();
    driver.lose_state_and_restart().unwrap();
    driver.settle().unwrap();
    for number in (0..KEYS).step_by(10) {
        driver.publish(add(FIRST, &key(number), i64::MAX / 2, 1)).unwrap();
        if number % 500 == 0 {
            driver.commit().unwrap();
        }
    }
    for number in (50..KEYS).step_by(100) {
        driver.publish(forget(FIRST, &key(number))).unwrap();
    }
    driver.commit().unwrap();
    told.read(&mut driver);
    driver
}

/// Adds one to some keys, and holds what comes of it against what was told before.
fn check(driver: &mut Driver, told: &mut Told, random: &mut SmallRng) {
    for _ in 0..LOOKED_AT {
        driver.publish(add(FIRST, &key(random.random_range(0..KEYS)), i64::MAX / 2, 1)).unwrap();
        driver.commit().unwrap();
    }
    told.read(driver);
}

/// Starts on a store that something was done to.
fn restart(driver: &mut Driver, what: &str, damage: impl FnOnce(&Path) -> io::Result<()>) {
    let started = driver.restart_after(damage).and_then(|()| driver.settle());
    let Err(error) = started else { return };
    // What is found only by and by ends the process, and the next one restores.
    let message = format!("{error:#}");
    assert!(message.contains("state folder") || message.contains("local state"), "{what}: {message}");
    driver.crash_and_restart().and_then(|()| driver.settle()).unwrap_or_else(|error| panic!("{what}: {error:#}"));
}

fn flip(file: &Path, random: &mut SmallRng) -> io::Result<()> {
    let mut opened = fs::File::options().read(true).write(true).open(file)?;
    let bytes = opened.metadata()?.len();
    if bytes == 0 {
        return opened.write_all(b"x");
    }
    let at = random.random_range(0..bytes);
    let mut byte = [0];
    opened.seek(SeekFrom::Start(at))?;
    opened.read_exact(&mut byte)?;
    byte[0] ^= 1 << random.random_range(0..8);
    opened.seek(SeekFrom::Start(at))?;
    opened.write_all(&byte)
}

fn cut(file: &Path, keep: f64) -> io::Result<()> {
    let opened = fs::File::options().write(true).open(file)?;
    let bytes = opened.metadata()?.len();
    opened.set_len((bytes as f64 * keep) as u64)
}

/// Runs `damage` on each file of a good store in turn.
fn each_file(damage: impl Fn(&Path, &mut SmallRng) -> io::Result<()>) {
    let mut told = Told::default();
    let mut driver = filled(&mut told);
    let good = tempfile::tempdir().unwrap();
    let good = good.path().join("good");
    driver.restart_after(|state| copy(state, &good)).unwrap();
    driver.settle().unwrap();
    let names: Vec<PathBuf> = files(&good).iter().map(|file| file.strip_prefix(&good).unwrap().to_owned()).collect();
    assert!(names.iter().any(|name| name.to_string_lossy().contains("tables")), "there is a table in {names:?}");
    for (seed, name) in names.iter().enumerate() {
        let mut random = SmallRng::seed_from_u64(seed as u64);
        // Shown when it fails.
        println!("{}", name.display());
        restart(&mut driver, &name.display().to_string(), |state| {
            copy(&good, state)?;
            damage(&state.join(name), &mut random)
        });
        check(&mut driver, &mut told, &mut random);
        // And what that left behind can be started on, too.
        restart(&mut driver, &name.display().to_string(), |_| Ok(()));
        check(&mut driver, &mut told, &mut random);
    }
}

#[test]
fn a_file_that_is_gone_is_restored() {
    each_file(|file, _| fs::remove_file(file));
}

#[test]
fn a_file_that_was_cut_is_restored() {
    each_file(|file, random| cut(file, random.random_range(0.0..1.0)));
    each_file(|file, _| cut(file, 0.0));
}

#[test]
fn a_flipped_bit_anywhere_is_restored() {
    for _ in 0..2 {
        each_file(flip);
    }
}

#[test]
fn a_store_from_long_ago_goes_on_from_where_it_was() {
    let mut told = Told::default();
    let mut driver = filled(&mut told);
    let mut random = SmallRng::seed_from_u64(7);
    let old = tempfile::tempdir().unwrap();
    let old = old.path().join("old");
    driver.restart_after(|state| copy(state, &old)).unwrap();
    for _ in 0..3 {
        check(&mut driver, &mut told, &mut random);
    }
    driver.restart_after(|state| copy(&old, state)).unwrap();
    check(&mut driver, &mut told, &mut random);
}
