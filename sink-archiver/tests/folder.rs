//! The object archive's behaviours in a folder, and those that need no store in particular.

mod common;

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use common::{
    Committed, T0, Topics, object_sink,
    object_suite::{Stores, assert_same},
    rotation,
};
use sink_archiver::objects::store::Store;
use stream_runtime::{log::TopicPartition, sink::Sink};
use telemetry_schemas::topics::EVENTS;

fn open(folder: &Path, name: &str) -> Store {
    let config = serde_json::json!({"kind": "folder", "path": folder.join(name)});
    Store::open(&serde_json::from_value(config).expect("a config")).expect("opened")
}

async fn stores() -> Stores {
    Stores::new(open).await
}

object_suite!(stores);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_topic_is_cut_by_the_clock_and_a_replay_cuts_alike() {
    let stores = stores().await;
    let mut events = Topics::of_users(3).from(EVENTS, 0);
    // All of one instant: the records themselves never ask for a cut.
    for event in &mut events {
        event.timestamp_ms = T0;
    }
    let at = TopicPartition::new(EVENTS, 0);
    let mut impatient = rotation(100);
    impatient.interval = serde_json::from_value("1ms".into()).expect("a duration");
    let committed = Arc::new(Committed::default());
    let mut sink = object_sink(&stores.store("a"), &stores.database, &committed, &impatient);
    sink.assigned(std::slice::from_ref(&at)).await.expect("assigned");
    assert!(sink.write(&events[..5]).await.expect("written").is_empty(), "the records do not ask for it");
    let deadline = Instant::now() + Duration::from_secs(20);
    let complete = loop {
        let complete = sink.tick().await.expect("ticked");
        if !complete.is_empty() {
            break complete;
        }
        assert!(Instant::now() < deadline, "never cut");
    };
    assert_eq!(complete.iter().map(|next| next.next).collect::<Vec<_>>(), vec![5]);
    assert!(sink.tick().await.expect("ticked").is_empty());
    let before = stores.objects("a").await;

    // A store that has the clock's cut and lost what came after: the replay has all records and cuts at 5 all the same.
    let store = stores.store("b");
    let cut = store.names.cut(&at, 0);
    store.create(&cut, before[cut.as_ref()].clone()).await.expect("recorded");
    let mut replay = stores.process("b", 100);
    replay.sink.assigned(std::slice::from_ref(&at)).await.expect("assigned");
    replay.sink.write(&events).await.expect("written");
    assert_same(&stores.objects("b").await, &before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_much_in_memory_closes_the_largest_partition() {
    let stores = stores().await;
    let topics = Topics::of_users(20);
    let mut limited = rotation(1_000_000);
    limited.memory = serde_json::from_value("4KiB".into()).expect("a size");
    let mut sink = object_sink(&stores.store("a"), &stores.database, &Arc::new(Committed::default()), &limited);
    sink.assigned(&topics.archived()).await.expect("assigned");
    let mut complete = Vec::new();
    for batch in topics.all().chunks(10) {
        complete.extend(sink.write(batch).await.expect("written"));
    }
    assert!(complete.len() > 3, "{complete:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_revoked_is_dropped_and_read_again() {
    let stores = stores().await;
    let topics = Topics::of_users(4);
    let at = TopicPartition::new(EVENTS, 0);
    let mut process = stores.process("a", 8);
    process.sink.assigned(std::slice::from_ref(&at)).await.expect("assigned");
    process.sink.write(&topics.from(EVENTS, 0)[..11]).await.expect("written");
    process.sink.revoked(std::slice::from_ref(&at)).await;
    let positions = process.sink.assigned(std::slice::from_ref(&at)).await.expect("assigned");
    assert_eq!(positions, vec![(at, stream_runtime::log::Position::Offset(8))]);
    process.sink.write(&topics.from(EVENTS, 8)).await.expect("written");
    assert_eq!(stores.data("a").await.len(), 2);
}
