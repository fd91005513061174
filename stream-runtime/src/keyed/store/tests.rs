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
