//! Looks for somebody's bytes in what a `ttf dev` left behind: every topic, every file, rows and columns as a reader sees them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use stream_runtime::log::{Isolation, LogConfig, Position, TopicPartition};
use telemetry_schemas::topics::{CATALOGUE, Cleanup};

const CALL: Duration = Duration::from_secs(10);

/// Whether the bytes of a text stand somewhere in these.
pub fn has(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// A record in which a text was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub topic: &'static str,
    pub in_value: bool,
    pub value: Vec<u8>,
}

/// The records of an embedded log, which no process has open, that have one of these texts in their key or value. Of a
/// compacted topic only the newest of each key counts: the others are not there once it was compacted.
pub fn in_topics(log: &Path, texts: &[&str]) -> Vec<Found> {
    let config: LogConfig =
        serde_json::from_value(serde_json::json!({"kind": "embedded", "path": log, "retention_bytes": 1 << 30}))
            .expect("a config");
    let log = stream_runtime::log::open(&config, "search").expect("the log opens");
    let mut found = Vec::new();
    for topic in CATALOGUE {
        let Some(there) = log.topics(Some(&[topic.name]), CALL).expect("asked").pop() else { continue };
        let mut newest: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        let mut all = Vec::new();
        for partition in 0..there.partitions {
            let at = TopicPartition::new(topic.name, partition);
            let end = log.end_offset(&at, Isolation::ReadCommitted, CALL).expect("an end");
            let mut reader = log.reader(Isolation::ReadCommitted).expect("a reader");
            reader.assign(&[(at.clone(), Position::Beginning)]).expect("assigned");
            let mut reached = log.start_offset(&at, CALL).expect("a start");
            while reached < end {
                let mut visit = |record: &stream_runtime::log::RecordRef<'_>| {
                    let key = record.key.unwrap_or_default().to_vec();
                    match (topic.cleanup, record.value) {
                        (Cleanup::Delete(_), value) => all.push((key, value.unwrap_or_default().to_vec())),
                        (Cleanup::Compact, Some(value)) => drop(newest.insert(key, value.to_vec())),
                        (Cleanup::Compact, None) => drop(newest.remove(&key)),
                    }
                };
                reader.poll(1_000, Duration::from_millis(50), &mut visit).expect("read");
                reached = reader.position(&at).unwrap_or(reached);
            }
        }
        for (key, value) in all.into_iter().chain(newest) {
            let in_value = texts.iter().any(|text| has(&value, text));
            if in_value || texts.iter().any(|text| has(&key, text)) {
                found.push(Found { topic: topic.name, in_value, value });
            }
        }
    }
    found
}

/// The topics in which something was found.
pub fn topics_of(found: &[Found]) -> BTreeSet<&'static str> {
    found.iter().map(|found| found.topic).collect()
}

/// The files below a folder that have one of these texts in their bytes, or in their name.
pub fn in_files(folder: &Path, texts: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).expect("a file");
            let name = path.to_string_lossy().into_owned();
            if texts.iter().any(|text| has(&bytes, text) || name.contains(text)) {
                found.push(path);
            }
        }
    }
    found
}
