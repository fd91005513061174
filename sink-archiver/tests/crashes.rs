//! A crash at each dangerous line, by fail points; afterwards everything is as if nothing had happened.
//! Fail points belong to the process, so each test holds the one scenario there is.

mod common;

use std::{path::Path, sync::Arc};

use common::{
    Topics, archiver,
    object_suite::{Stores, assert_same},
    people_in, record,
};
use fail::FailScenario;
use sink_archiver::{LiveView, objects::store::Store};
use stream_runtime::{
    log::{Position, TopicPartition},
    sink::{Sink, SinkError},
};
use telemetry_schemas::topics::EVENTS;

fn open(folder: &Path, name: &str) -> Store {
    let config = serde_json::json!({"kind": "folder", "path": folder.join(name)});
    Store::open(&serde_json::from_value(config).expect("a config")).expect("opened")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_anywhere_in_a_cut_leaves_the_same_objects() {
    let scenario = FailScenario::setup();
    let stores = Stores::new(open).await;
    let topics = Topics::of_users(6);
    stores.process("oracle", 5).feed(&topics, 4).await.expect("fed");
    let oracle = stores.objects("oracle").await;
    for place in ["after_cut", "between_objects", "before_complete", "before_offsets"] {
        for passes in 0..6 {
            let store = format!("{place}-{passes}");
            let name = format!("archiver::objects::{place}");
            fail::cfg(&name, &format!("{passes}*off->return")).expect("set");
            let crashed = stores.process(&store, 5).feed(&topics, 4).await;
            assert!(matches!(crashed, Err(SinkError::Unavailable(_))), "{store}: {crashed:?}");
            fail::remove(&name);
            // Another process takes over, with other batches; its group knows no offsets.
            stores.process(&store, 5).feed(&topics, 11).await.expect("fed");
            assert_same(&stores.objects(&store).await, &oracle);
        }
    }
    scenario.teardown();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_process_goes_on_where_it_failed() {
    let scenario = FailScenario::setup();
    let stores = Stores::new(open).await;
    let topics = Topics::of_users(6);
    stores.process("oracle", 5).feed(&topics, 1_000).await.expect("fed");
    for place in ["after_cut", "between_objects", "before_complete", "before_offsets"] {
        let mut process = stores.process(place, 5);
        process.sink.assigned(&topics.archived()).await.expect("assigned");
        let name = format!("archiver::objects::{place}");
        fail::cfg(&name, "1*off->2*return->1*off->1*return->off").expect("set");
        let mut failures = 0;
        while process.sink.write(topics.all()).await.is_err() {
            failures += 1;
            assert!(failures < 10, "{place} fails for ever");
        }
        assert_eq!(failures, 3, "{place}");
        fail::remove(&name);
        assert_same(&stores.objects(place).await, &stores.objects("oracle").await);
    }
    scenario.teardown();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_around_the_commit_loses_and_doubles_nothing() {
    let scenario = FailScenario::setup();
    for (place, stored) in [("before_commit", 0), ("after_commit", 8)] {
        let folder = tempfile::tempdir().expect("a folder");
        let database = people_in(folder.path()).await;
        let topics = Topics::of_users(2);
        let mut first = archiver(&database, "first");
        first.sink.assigned(&topics.partitions()).await.expect("assigned");
        assert_eq!(first.live_view.journeys("acme", "user-1").await.expect("read"), vec![]);
        let name = format!("archiver::database::{place}");
        fail::cfg(&name, "return").expect("set");
        let crashed = first.sink.write(topics.all()).await;
        assert!(matches!(crashed, Err(SinkError::Unavailable(_))), "{place}: {crashed:?}");
        fail::remove(&name);

        let at = TopicPartition::new(EVENTS, 0);
        let position = first.sink.assigned(std::slice::from_ref(&at)).await.expect("assigned");
        let expected = if stored == 0 { Position::Beginning } else { Position::Offset(stored) };
        assert_eq!(position, vec![(at, expected)], "{place}");
        // The answer was lost, so the live view never heard of the rows: it must not serve what it had.
        let mut second = archiver(&database, "second");
        second.sink.assigned(&topics.partitions()).await.expect("assigned");
        if stored == 0 {
            second.sink.write(topics.all()).await.expect("written");
        }
        for view in [&first.live_view, &second.live_view] {
            assert_eq!(view.journeys("acme", "user-1").await.expect("read"), vec![record("user-1", 4)], "{place}");
        }
        let _: &Arc<dyn LiveView> = &first.live_view;
    }
    scenario.teardown();
}
