use std::collections::BTreeMap;

use super::*;

fn entries(task: &TaskStore) -> Vec<(i64, Vec<u8>)> {
    let due = task.due_timers(None, i64::MAX, 100).unwrap();
    due.iter().map(|entry| (entry.due_ms(), entry.key().to_vec())).collect()
}

#[test]
fn a_state_comes_back_with_its_timer_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    {
        let stores = Stores::open(folder.path()).unwrap();
        let task = stores.task(3).unwrap();
        let mut batch = stores.batch();
        batch.put(&task, b"a", b"one", None, Some(-5));
        batch.put(&task, b"b", b"two", None, Some(7));
        batch.describe(&task, &Meta::new("c".into(), "t".into(), "f".into()));
        batch.commit().unwrap();
    }
    let stores = Stores::open(folder.path()).unwrap();
    assert_eq!(stores.partitions(), [3]);
    let task = stores.task(3).unwrap();
    assert_eq!(task.get(b"a").unwrap().unwrap().state(), b"one");
    assert_eq!(entries(&task), [(-5, b"a".to_vec()), (7, b"b".to_vec())]);

    let mut batch = stores.batch();
    batch.put(&task, b"a", b"three", Some(-5), Some(9));
    batch.delete(&task, b"b", Some(7));
    batch.commit().unwrap();
    assert_eq!(entries(&task), [(9, b"a".to_vec())]);
    assert_eq!(task.get(b"b").unwrap(), None);
    assert_eq!(task.get(b"a").unwrap().unwrap().due_ms(), Some(9));
}

#[test]
fn the_cursor_skips_what_was_seen() {
    let folder = tempfile::tempdir().unwrap();
    let stores = Stores::open(folder.path()).unwrap();
    let task = stores.task(0).unwrap();
    let mut batch = stores.batch();
    for (key, due) in [(b"a", 1), (b"b", 1), (b"c", 2)] {
        batch.put(&task, key, b"", None, Some(due));
    }
    batch.commit().unwrap();
    let first = task.due_timers(None, 1, 1).unwrap();
    assert_eq!(first[0].key(), b"a");
    let rest = task.due_timers(Some(&first[0]), 1, 10).unwrap();
    assert_eq!(rest.len(), 1);
    assert_eq!(task.next_due(Some(&rest[0])).unwrap(), Some(2));
}

#[test]
fn damage_is_noticed_and_a_wipe_heals_it() {
    let folder = tempfile::tempdir().unwrap();
    let stores = Stores::open(folder.path()).unwrap();
    let mut task = stores.task(0).unwrap();
    let mut sealed = Sealed::seal(b"k", b"state", None);
    *sealed.last_mut().unwrap() ^= 1;
    task.keyspace.insert(layout::state_key(b"k"), sealed).unwrap();
    assert!(matches!(task.get(b"k"), Err(StoreError::Damaged { partition: 0, .. })));
    // A state stored under another key is damage too.
    task.keyspace.insert(layout::state_key(b"k"), Sealed::seal(b"other", b"state", None)).unwrap();
    assert!(matches!(task.get(b"k"), Err(StoreError::Damaged { partition: 0, .. })));
    task.wipe().unwrap();
    assert!(task.is_empty().unwrap());
    assert_eq!(task.meta().unwrap(), None);
}

#[test]
fn a_second_process_gets_a_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let _first = Stores::open(folder.path()).unwrap();
    let Err(error) = Stores::open(folder.path()) else { panic!("opened twice") };
    assert!(error.to_string().contains("in use by another process"), "{error}");
}

/// So many records that a run of them becomes a table.
const MANY: usize = 20_000;

fn key(number: usize) -> Vec<u8> {
    format!("key-{number:06}").into_bytes()
}

fn described(position: i64) -> Meta {
    Meta { changelog_position: position, ..Meta::new("c".into(), "t".into(), "f".into()) }
}

/// Key → state and due time.
type States = BTreeMap<Vec<u8>, (Vec<u8>, Option<i64>)>;

/// Everything a store holds: states with their due times, and the timer index.
fn content(task: &TaskStore) -> (States, Vec<(i64, Vec<u8>)>) {
    let states = task
        .states()
        .map(|stored| {
            let stored = stored.unwrap();
            (stored.key().to_vec(), (stored.sealed.state().to_vec(), stored.sealed.due_ms()))
        })
        .collect();
    let timers = task.timers().map(|timer| timer.map(|timer| (timer.due_ms(), timer.key().to_vec())).unwrap());
    (states, timers.collect())
}

/// A run in which each of `keys` is put twice and every hundredth is deleted in the end.
fn run(keys: impl Iterator<Item = usize> + Clone, version: i64) -> Run {
    let mut run = Run::default();
    for number in keys.clone() {
        run.put(&key(number), b"overwritten", Some(-1));
    }
    for number in keys.clone() {
        run.put(&key(number), format!("{version}").as_bytes(), Some(version * 1_000_000 + number as i64));
    }
    for number in keys.filter(|number| number % 100 == 0) {
        run.delete(&key(number));
    }
    run
}

#[test]
fn of_runs_that_overlap_the_latest_record_of_each_key_wins_whatever_their_size() {
    let folder = tempfile::tempdir().unwrap();
    let mut expected = BTreeMap::new();
    let stores = Stores::open(folder.path()).unwrap();
    let task = stores.task(0).unwrap();
    // Tables and journalled runs in turn, each over parts of those before; more of them than one compaction takes.
    let runs = [0..MANY, 5_000..6_000, MANY / 2..MANY + MANY / 2, 15_000..15_500, 0..MANY, 7_000..7_100, 100..MANY];
    for (version, keys) in (1..).zip(runs) {
        run(keys.clone(), version).write(&task, &described(version)).unwrap();
        for number in keys {
            let state = (version.to_string().into_bytes(), Some(version * 1_000_000 + number as i64));
            if number % 100 == 0 {
                expected.remove(&key(number))
            } else {
                expected.insert(key(number), state)
            };
        }
        assert_eq!(task.meta().unwrap().unwrap().changelog_position, version);
        let (states, timers) = content(&task);
        assert_eq!(states, expected, "after run {version}");
        for (key, (_, due)) in &states {
            assert!(
                timers.binary_search(&(due.unwrap(), key.clone())).is_ok(),
                "a timer is missing after run {version}"
            );
        }
    }
    let before = content(&task);
    drop((task, stores));
    let stores = Stores::open(folder.path()).unwrap();
    assert_eq!(content(&stores.task(0).unwrap()), before);
}

#[test]
fn a_run_leaves_a_store_as_one_change_after_the_other_would() {
    let folder = tempfile::tempdir().unwrap();
    let stores = Stores::open(folder.path()).unwrap();
    let (table, journalled) = (stores.task(0).unwrap(), stores.task(1).unwrap());
    run(0..MANY, 1).write(&table, &described(1)).unwrap();
    let mut batch = stores.batch();
    for number in (0..MANY).filter(|number| number % 100 != 0) {
        batch.put(&journalled, &key(number), b"1", None, Some(1_000_000 + number as i64));
    }
    batch.describe(&journalled, &described(1));
    batch.commit().unwrap();
    assert_eq!(content(&table), content(&journalled));
}

#[test]
fn what_was_written_before_a_wipe_does_not_come_back_and_what_was_written_after_it_stays() {
    let folder = tempfile::tempdir().unwrap();
    {
        let stores = Stores::open(folder.path()).unwrap();
        let mut task = stores.task(0).unwrap();
        run(0..MANY, 1).write(&task, &described(1)).unwrap();
        run(0..100, 2).write(&task, &described(2)).unwrap();
        task.wipe().unwrap();
        assert_eq!(task.meta().unwrap(), None);
        assert_eq!(content(&task), Default::default());
        run(0..MANY, 3).write(&task, &described(3)).unwrap();
    }
    let stores = Stores::open(folder.path()).unwrap();
    let task = stores.task(0).unwrap();
    assert_eq!(task.meta().unwrap().unwrap().changelog_position, 3);
    let (states, timers) = content(&task);
    assert_eq!((states.len(), timers.len()), (MANY - MANY / 100, MANY - MANY / 100));
    assert!(states.values().all(|(state, _)| state == b"3"));
}

#[test]
fn a_view_shows_what_was_there_whatever_comes_later() {
    let folder = tempfile::tempdir().unwrap();
    let stores = Stores::open(folder.path()).unwrap();
    let task = stores.task(0).unwrap();
    run(0..MANY, 1).write(&task, &described(1)).unwrap();
    let view = task.view();
    let mut batch = stores.batch();
    for number in 0..MANY {
        batch.put(&task, &key(number), b"later", None, None);
    }
    batch.commit().unwrap();
    let states: Vec<_> = view.states().map(|stored| stored.unwrap().sealed.state().to_vec()).collect();
    assert_eq!(states.len(), MANY - MANY / 100);
    assert!(states.iter().all(|state| state == b"1"));
}

#[test]
fn a_store_of_the_layout_before_is_removed_and_its_folder_used() {
    let folder = tempfile::tempdir().unwrap();
    {
        // As the layout before had it: the database right in the folder.
        let database = fjall::Database::builder(folder.path()).open().unwrap();
        for name in ["metas", "states-0", "timers-0"] {
            let keyspace = database.keyspace(name, fjall::KeyspaceCreateOptions::default).unwrap();
            keyspace.insert("key", "value").unwrap();
        }
    }
    let stores = Stores::open(folder.path()).unwrap();
    assert_eq!(stores.partitions(), [0; 0]);
    assert_eq!(stores.task(0).unwrap().meta().unwrap(), None);
    let mut left: Vec<_> = folder.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["lock", "store"]);
}
