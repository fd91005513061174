//! What needs a look inside the runtime; the rest is in `tests/keyed.rs`.

use super::*;
use crate::{
    keyed::{Context, Effect, Poison, Undecoded},
    log::RecordRef,
};

/// Counts records per key.
struct Counter;

impl KeyedProcessor for Counter {
    type Key = Vec<u8>;
    type State = u64;
    type Input<'a> = ();
    type Output = (Vec<u8>, u64);

    fn on_record(&self, _: &Context, _: &Vec<u8>, state: &mut Option<u64>, (): ()) -> Effect {
        *state.get_or_insert(0) += 1;
        Effect::Changed
    }

    fn on_timer(&self, _: &Context, _: &Vec<u8>, _: &mut Option<u64>, _: i64) {}

    fn next_due(&self, state: &u64) -> Option<i64> {
        // A rule that breaks the contract: it stays where it is.
        (*state >= 100).then_some(0)
    }

    fn on_flush(
        &self,
        _: &Context,
        key: &Vec<u8>,
        _: Option<&u64>,
        after: &mut Option<u64>,
        outputs: &mut Vec<Self::Output>,
    ) {
        outputs.extend(after.map(|count| (key.clone(), count)));
    }
}

struct Bytes;

impl Codec<Counter> for Bytes {
    fn decode(&self, record: &RecordRef<'_>) -> Result<Option<()>, Undecoded> {
        Ok(record.key.map(|_| ()))
    }

    fn decode_key(&self, bytes: &[u8]) -> Result<Vec<u8>, Poison> {
        Ok(bytes.to_vec())
    }

    fn encode_state(&self, state: &u64) -> Vec<u8> {
        state.to_be_bytes().to_vec()
    }

    fn decode_state(&self, bytes: &[u8]) -> Result<u64, Poison> {
        let bytes = bytes.try_into().map_err(|_| Poison { code: "undecodable", message: "length".to_owned() })?;
        Ok(u64::from_be_bytes(bytes))
    }

    fn encode_output(&self, (key, count): &(Vec<u8>, u64), records: &mut Vec<NewRecord>) {
        records.push(NewRecord::new("out", key.clone(), count.to_be_bytes().to_vec()));
    }

    fn encode_poison(&self, _: &RecordRef<'_>, _: &Poison, _: i64) -> NewRecord {
        unreachable!("every record with a key can be decoded")
    }
}

fn driver() -> TestDriver<Counter, Bytes> {
    TestDriver::new(&Setup::new(&["in"], "state", &["out"]), Counter, Bytes).unwrap()
}

fn input(key: &str) -> NewRecord {
    NewRecord::new("in", key.to_owned(), "")
}

fn counts(driver: &mut TestDriver<Counter, Bytes>) -> Vec<u64> {
    let records = driver.read_all("out").unwrap();
    records.iter().map(|record| u64::from_be_bytes(record.value.as_deref().unwrap().try_into().unwrap())).collect()
}

#[test]
fn a_damaged_store_is_restored_while_running() {
    let mut driver = driver();
    driver.pipe_input(input("a")).unwrap();
    driver.commit().unwrap();
    driver.worker.as_ref().unwrap().shared().stores.task(0).unwrap().damage(b"a");
    // Another key first: its change is rolled back with the restore and applied again.
    driver.pipe_input(input("b")).unwrap();
    driver.pipe_input(input("a")).unwrap();
    driver.commit().unwrap();
    let mut counts = counts(&mut driver);
    counts.sort_unstable();
    assert_eq!(counts, [1, 1, 2]);
}

#[test]
fn a_group_without_offsets_goes_on_where_its_state_ends() {
    for loses_state in [false, true] {
        let mut driver = driver();
        driver.pipe_input(input("a")).unwrap();
        driver.commit().unwrap();
        driver.restart_with(|options| options.group = "renamed".to_owned()).unwrap();
        if loses_state {
            driver.lose_state_and_restart().unwrap();
        }
        driver.pipe_input(input("a")).unwrap();
        driver.commit().unwrap();
        assert_eq!(counts(&mut driver), [1, 2], "state lost: {loses_state}");
    }
}

#[test]
fn a_state_that_does_not_say_how_far_it_goes_needs_the_groups_offsets() {
    let mut driver = driver();
    driver.publish(NewRecord::new("state", "a", 1_u64.to_be_bytes().to_vec()).with_partition(0)).unwrap();
    let error = driver.lose_state_and_restart().and_then(|()| driver.settle()).unwrap_err();
    assert!(error.to_string().contains("does not say how far it goes"), "{error:#}");
}

#[test]
fn a_timer_that_does_not_move_on_stops_the_process() {
    let mut driver = driver();
    for _ in 0..100 {
        driver.publish(input("a")).unwrap();
    }
    let error = driver.commit().unwrap_err();
    assert!(error.to_string().contains("would fire for ever"), "{error:#}");
}

#[test]
fn stores_of_partitions_that_moved_away_are_deleted() {
    let mut driver = driver();
    driver.restart_with(|options| options.foreign_state_ttl = Duration::ZERO).unwrap();
    driver.settle().unwrap();
    let stores = driver.worker.as_ref().unwrap().shared().stores.clone();
    let foreign = stores.task(7).unwrap();
    let mut batch = stores.batch();
    batch.describe(&foreign, &super::super::store::Meta::new(String::new(), String::new(), String::new()));
    batch.commit().unwrap();
    assert_eq!(stores.partitions(), [0, 7]);
    driver.pipe_input(input("a")).unwrap();
    assert_eq!(stores.partitions(), [0]);
}

#[test]
fn the_store_is_written_behind_the_changelog_which_makes_good_what_it_lacks() {
    let stored = |driver: &TestDriver<Counter, Bytes>, key: &[u8]| {
        let store = driver.worker.as_ref().unwrap().shared().stores.task(0).unwrap();
        store.get(key).unwrap().map(|sealed| Bytes.decode_state(sealed.state()).unwrap())
    };
    let mut driver = driver();
    driver.restart_with(|options| (options.store_interval, options.cache_bytes) = (Duration::MAX, 1 << 20)).unwrap();
    for _ in 0..2 {
        driver.pipe_input(input("a")).unwrap();
        driver.commit().unwrap();
    }
    assert_eq!(stored(&driver, b"a"), None);
    driver.crash_and_restart().unwrap();
    driver.settle().unwrap();
    assert_eq!(stored(&driver, b"a"), Some(2));
    driver.pipe_input(input("a")).unwrap();
    driver.commit().unwrap();
    assert_eq!(counts(&mut driver), [1, 2, 3]);

    // What is touched fills the memory there is for it: then the store gets what it lacks.
    driver.restart_with(|options| options.cache_bytes = 10_000).unwrap();
    driver.pipe_input(input("a")).unwrap();
    driver.commit().unwrap();
    assert_eq!(stored(&driver, b"a"), Some(3));
    for key in 0..20 {
        driver.pipe_input(input(&format!("other-{key}"))).unwrap();
    }
    driver.commit().unwrap();
    assert_eq!(stored(&driver, b"a"), Some(4));
}
