//! What the object archive must do on every store; run against each by `object_suite!`.

use std::{collections::BTreeMap, sync::Arc};

use arrow_array::{Array, RecordBatch, StringArray, cast::AsArray, types::Int64Type};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use sink_archiver::{
    database::Database,
    objects::{sink::ObjectSink, store::Store},
};
use stream_runtime::{
    log::{Position, Record, TopicPartition},
    sink::{Sink, SinkError},
};
use telemetry_schemas::{EventTime, topics::*};
use tempfile::TempDir;

use super::{Committed, T0, Topics, archiver, erasure, event, object_sink, people_in, record, rotation};

/// Stores of a test's own.
pub struct Stores {
    pub folder: TempDir,
    pub database: Arc<dyn Database>,
    open: Box<dyn Fn(&str) -> Store + Send + Sync>,
}

impl Stores {
    pub async fn new(open: impl Fn(&std::path::Path, &str) -> Store + Send + Sync + 'static) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let database = people_in(folder.path()).await;
        let path = folder.path().to_owned();
        Self { folder, database, open: Box::new(move |name| open(&path, name)) }
    }

    /// A store of this name; the same name is the same store.
    pub fn store(&self, name: &str) -> Store {
        (self.open)(name)
    }

    /// A new process on a store.
    pub fn process(&self, name: &str, records: usize) -> Process {
        let store = self.store(name);
        let committed = Arc::new(Committed::default());
        let sink = object_sink(&store, &self.database, &committed, &rotation(records));
        Process { sink, committed }
    }

    /// Every object's bytes, by path.
    pub async fn objects(&self, name: &str) -> BTreeMap<String, Bytes> {
        let store = self.store(name);
        let mut objects = BTreeMap::new();
        for path in store.list(&store.names.root()).await.expect("listed") {
            let bytes = store.read(&path).await.expect("read").expect("there");
            objects.insert(store.names.below_root(&path), bytes);
        }
        objects
    }

    pub async fn data(&self, name: &str) -> BTreeMap<String, Bytes> {
        self.objects(name).await.into_iter().filter(|(path, _)| path.contains("dataset=")).collect()
    }
}

pub struct Process {
    pub sink: ObjectSink,
    pub committed: Arc<Committed>,
}

impl Process {
    /// Feeds the sink as its runner does and commits what it says.
    pub async fn feed(&mut self, topics: &Topics, batch: usize) -> Result<(), SinkError> {
        let positions = self.sink.assigned(&topics.archived()).await?;
        let start: BTreeMap<TopicPartition, i64> = positions
            .into_iter()
            .map(|(at, position)| match position {
                Position::Beginning => (at, 0),
                Position::Offset(offset) => (at, offset),
                Position::End => panic!("a sink never skips to the end"),
            })
            .collect();
        let due: Vec<Record> = topics
            .all()
            .iter()
            .filter(|record| start.get(&record.at()).is_some_and(|start| record.offset >= *start))
            .cloned()
            .collect();
        for batch in due.chunks(batch) {
            for next in self.sink.write(batch).await? {
                self.committed.set(&next.at, next.next);
            }
        }
        Ok(())
    }
}

/// The same names and bytes; tells which differ, not how.
#[track_caller]
pub fn assert_same(left: &BTreeMap<String, Bytes>, right: &BTreeMap<String, Bytes>) {
    let names = |objects: &BTreeMap<String, Bytes>| objects.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(left), names(right));
    let differ: Vec<_> = left.iter().filter(|(path, bytes)| right[*path] != **bytes).map(|(path, _)| path).collect();
    assert!(differ.is_empty(), "other bytes in {differ:?}");
}

fn read(parquet: &Bytes) -> Vec<RecordBatch> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(parquet.clone()).expect("Parquet").build().expect("a reader");
    reader.map(|batch| batch.expect("rows")).collect()
}

fn text(batch: &RecordBatch, column: &str, row: usize) -> Option<String> {
    let array: &StringArray = batch.column_by_name(column).expect(column).as_string();
    (!array.is_null(row)).then(|| array.value(row).to_owned())
}

/// Every text in an object, each in quotes.
pub fn all_text(parquet: &Bytes) -> String {
    let batches = read(parquet);
    let columns = batches.iter().flat_map(RecordBatch::columns).filter_map(|column| column.as_string_opt::<i32>());
    columns.flat_map(|column| column.iter().flatten()).map(|text| format!("\"{text}\"\n")).collect::<Vec<_>>().concat()
}

fn offsets(parquet: &Bytes) -> Vec<i64> {
    let batches = read(parquet);
    let columns = batches.iter().map(|batch| batch.column_by_name("offset").expect("offset"));
    columns.flat_map(|column| column.as_primitive::<Int64Type>().values().to_vec()).collect()
}

/// The offsets in the objects of a dataset, each as often as it is there.
fn offsets_of(objects: &BTreeMap<String, Bytes>, dataset: &str) -> Vec<i64> {
    let mut all: Vec<i64> = objects
        .iter()
        .filter(|(path, _)| path.starts_with(&format!("dataset={dataset}/")))
        .flat_map(|(_, b)| offsets(b))
        .collect();
    all.sort_unstable();
    all
}

pub async fn what_is_read_back_equals_what_was_sent(stores: &Stores) {
    let mut topics = Topics::of_users(6);
    let mut elsewhere = event("user-1", 9);
    "other/tenant".clone_into(&mut elsewhere.tenant);
    elsewhere.received_at = EventTime(T0 + 86_400_000);
    topics.event(&elsewhere);
    topics.push_bytes(EVENTS, "acme", "mallory", Some(b"not avro".to_vec()));
    let mut anonymous = event("user-1", 10);
    anonymous.user_id = None;
    topics.event(&anonymous);
    // 27 events, 24 records, 12 breaches: each topic is cut whole.
    stores.process("a", 27).feed(&topics, 5).await.expect("fed");
    stores.process("a", 24).feed(&topics, 5).await.expect("fed");
    stores.process("a", 12).feed(&topics, 5).await.expect("fed");

    let objects = stores.data("a").await;
    let expected_paths = [
        "dataset=breaches/tenant=acme/date=2023-11-14/telemetry.ttf.breaches.v1-0-00000000000000000000.parquet",
        "dataset=events/tenant=acme/date=2023-11-14/telemetry.events.v1-0-00000000000000000000.parquet",
        "dataset=events/tenant=other%2Ftenant/date=2023-11-15/telemetry.events.v1-0-00000000000000000000.parquet",
        "dataset=records/tenant=acme/date=2023-11-14/telemetry.ttf.records.v1-0-00000000000000000000.parquet",
    ];
    assert_eq!(objects.keys().map(String::as_str).collect::<Vec<_>>(), expected_paths);
    let mut expected: Vec<i64> = (0..27).collect();
    expected.retain(|offset| *offset != 25);
    assert_eq!(offsets_of(&objects, "events"), expected);
    assert_eq!(offsets_of(&objects, "records"), (0..24).collect::<Vec<_>>());
    assert_eq!(offsets_of(&objects, "breaches"), (0..12).collect::<Vec<_>>());

    let batch = &read(&objects[expected_paths[1]])[0];
    let pseudonym = |row| text(batch, "user_pseudonym", row);
    let sent = event("user-3", 1);
    let row = 3;
    assert_eq!(text(batch, "event_id", row), Some(sent.event_id));
    let properties: serde_json::Value =
        serde_json::from_str(&text(batch, "properties", row).expect("properties")).expect("JSON");
    assert_eq!(properties, serde_json::Value::Object(sent.properties));
    let context: serde_json::Value =
        serde_json::from_str(&text(batch, "context", row).expect("context")).expect("JSON");
    assert_eq!(context["library"]["name"], "telemetry-python");
    assert_eq!(pseudonym(0), pseudonym(6), "a user has one pseudonym");
    assert_ne!(pseudonym(0), pseudonym(1));
    let last = batch.num_rows() - 1;
    assert_eq!((pseudonym(last), text(batch, "anonymous_pseudonym", last).map(|p| p.len())), (None, Some(32)));

    let batch = &read(&objects[expected_paths[3]])[0];
    let sent = record("user-2", 4);
    let row = 20;
    let stages: serde_json::Value = serde_json::from_str(&text(batch, "stages", row).expect("stages")).expect("JSON");
    assert_eq!(stages, telemetry_schemas::json::to_json(&sent)["stages"]);
    assert_eq!(text(batch, "status", row).as_deref(), Some("completed"));
    for (path, object) in &objects {
        for batch in read(object) {
            assert!(batch.column_by_name("record_id").is_none() && batch.column_by_name("breach_id").is_none());
            for column in ["user_pseudonym", "anonymous_pseudonym"].iter().filter_map(|c| batch.column_by_name(c)) {
                let ids: &StringArray = column.as_string();
                assert!(ids.iter().flatten().all(|id| id.len() == 32 && !id.contains("user")), "{path}");
            }
        }
    }
}

pub async fn a_replay_writes_the_same_names_and_bytes(stores: &Stores) {
    let topics = Topics::of_users(8);
    stores.process("a", 7).feed(&topics, 5).await.expect("fed");
    let first = stores.objects("a").await;
    assert!(first.len() > 20, "{}", first.len());
    // From the start again, elsewhere, in other batches.
    stores.process("b", 7).feed(&topics, 64).await.expect("fed");
    assert_same(&stores.objects("b").await, &first);
    // A new process whose group has lost its offsets finds where to go on.
    let mut again = stores.process("a", 7);
    again.feed(&topics, 3).await.expect("fed");
    assert_same(&stores.objects("a").await, &first);
    let positions = again.sink.assigned(&[TopicPartition::new(EVENTS, 0)]).await.expect("assigned");
    assert_eq!(positions, vec![(TopicPartition::new(EVENTS, 0), Position::Offset(28))]);
}

pub async fn rows_are_in_one_object_only_however_often_processes_come_and_go(stores: &Stores) {
    let topics = Topics::of_users(9);
    for (records, batch) in [(4, 50), (9, 3), (2, 17), (36, 5), (18, 2), (1, 4)] {
        stores.process("a", records).feed(&topics, batch).await.expect("fed");
    }
    let objects = stores.data("a").await;
    assert_eq!(offsets_of(&objects, "events"), (0..36).collect::<Vec<_>>());
    assert_eq!(offsets_of(&objects, "records"), (0..36).collect::<Vec<_>>());
    assert_eq!(offsets_of(&objects, "breaches"), (0..18).collect::<Vec<_>>());
}

pub async fn who_comes_second_adopts_the_recorded_cut(stores: &Stores) {
    let topics = Topics::of_users(5);
    let at = TopicPartition::new(EVENTS, 0);
    // Somebody recorded a cut at 13 and got no further.
    let store = stores.store("a");
    let path = store.names.cut(&at, 0);
    store.create(&path, Bytes::from_static(br#"{"start": 0, "end": 13}"#)).await.expect("recorded");
    let mut process = stores.process("a", 6);
    process.feed(&topics, 4).await.expect("fed");
    let names: Vec<String> = stores.data("a").await.into_keys().filter(|path| path.contains("=events/")).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(
        names[0].ends_with("-0-00000000000000000000.parquet") && names[1].ends_with("-0-00000000000000000013.parquet")
    );
    let objects = stores.data("a").await;
    assert_eq!(offsets(&objects[&names[0]]), (0..13).collect::<Vec<_>>());
}

pub async fn two_processes_on_one_partition_write_one_archive(stores: &Stores) {
    let topics = Topics::of_users(8);
    let (mut one, mut two) = (stores.process("a", 5), stores.process("a", 8));
    let (first, second) = tokio::join!(one.feed(&topics, 3), two.feed(&topics, 4));
    first.expect("fed");
    second.expect("fed");
    let objects = stores.data("a").await;
    let archived = offsets_of(&objects, "events");
    let expected: Vec<i64> = (0..archived.len() as i64).collect();
    assert_eq!(archived, expected, "every row once, none left out in between");
    assert!(archived.len() >= 25, "{}", archived.len());
}

pub async fn an_unfinished_batch_may_come_again(stores: &Stores) {
    let topics = Topics::of_users(4);
    let mut process = stores.process("a", 8);
    process.sink.assigned(&topics.archived()).await.expect("assigned");
    for batch in topics.all().chunks(7) {
        process.sink.write(batch).await.expect("written");
        process.sink.write(batch).await.expect("written again");
    }
    let objects = stores.data("a").await;
    assert_eq!(offsets_of(&objects, "events"), (0..16).collect::<Vec<_>>());
}

pub async fn erased_users_are_skipped_and_objects_that_are_there_stay(stores: &Stores) {
    let mut topics = Topics::of_users(4);
    stores.process("a", 4).feed(&topics, 9).await.expect("fed");
    let before = stores.objects("a").await;
    topics.erasure(&erasure("user-1", T0 + 10_000_000));
    let mut database_sink = archiver(&stores.database, "a");
    database_sink.sink.assigned(&topics.partitions()).await.expect("assigned");
    database_sink.sink.write(topics.all()).await.expect("written");

    stores.process("a", 4).feed(&topics, 9).await.expect("fed");
    assert_same(&stores.objects("a").await, &before);
    stores.process("b", 4).feed(&topics, 9).await.expect("fed");
    let after = stores.data("b").await;
    assert_eq!(offsets_of(&after, "events"), (0..16).filter(|offset| offset % 4 != 1).collect::<Vec<_>>());
    assert_eq!(offsets_of(&after, "records"), (0..16).filter(|offset| offset % 4 != 1).collect::<Vec<_>>());
}

pub async fn which_object_holds_an_event_can_be_asked(stores: &Stores) {
    use sink_archiver::whereabouts::{Sought, Whereabouts, object};
    let mut topics = Topics::of_users(4);
    // Of the four events of this user, the first two.
    topics.erasure(&erasure("user-1", T0 + 2_500));
    let mut database_sink = archiver(&stores.database, "a");
    database_sink.sink.assigned(&topics.partitions()).await.expect("assigned");
    database_sink.sink.write(topics.all()).await.expect("written");
    stores.process("a", 7).feed(&topics, 5).await.expect("fed");
    let store = stores.store("a");
    let at = async |offset: i64| {
        let event = event(&format!("user-{}", offset % 4), offset / 4 + 1);
        let sought = Sought { event, at: TopicPartition::new(EVENTS, 0), offset };
        object(&store, &sought).await.expect("it answers")
    };
    let in_the_object_from = |start: i64| {
        let folder = "dataset=events/tenant=acme/date=2023-11-14";
        Whereabouts::Object { path: format!("{folder}/telemetry.events.v1-0-{start:020}.parquet") }
    };
    for (offset, start) in [(0, 0), (6, 0), (7, 7), (9, 7), (13, 7)] {
        assert_eq!(at(offset).await, in_the_object_from(start), "{offset}");
    }
    assert_eq!(at(5).await, Whereabouts::Gone, "its user was erased before it was archived");
    assert_eq!(at(14).await, Whereabouts::Waiting { next_offset: 14 }, "the third object is open");
}

/// One test per behaviour, each on stores of its own.
#[macro_export]
macro_rules! object_suite {
    ($stores:path: $($behaviour:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $behaviour() {
                common::object_suite::$behaviour(&$stores().await).await;
            }
        )*
    };
    ($stores:path) => {
        object_suite!($stores:
            what_is_read_back_equals_what_was_sent,
            a_replay_writes_the_same_names_and_bytes,
            rows_are_in_one_object_only_however_often_processes_come_and_go,
            who_comes_second_adopts_the_recorded_cut,
            two_processes_on_one_partition_write_one_archive,
            an_unfinished_batch_may_come_again,
            erased_users_are_skipped_and_objects_that_are_there_stay,
            which_object_holds_an_event_can_be_asked,
        );
    };
}
