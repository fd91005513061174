//! A damaged store is an error or still right, never a panic and never wrong data.

use std::{
    fs,
    path::{Path, PathBuf},
};

use stream_runtime::log::{
    Isolation, Log, LogError, NewRecord, Position,
    config::EmbeddedConfig,
    embedded::{EmbeddedLog, Options},
};

use super::{
    folder::{copy, files},
    support::{LONG, LOOK, at, publish, spec},
};

const RECORDS: usize = 400;
const RECORD_BYTES: usize = 10 * 1024;

fn open(folder: &Path) -> Result<EmbeddedLog, LogError> {
    let config = EmbeddedConfig { path: folder.to_owned(), retention_bytes: u64::MAX };
    EmbeddedLog::open_with(&config, Options { write_buffer_bytes: 1 << 20, ..Options::default() })
}

fn value(number: usize) -> Vec<u8> {
    (0..RECORD_BYTES).map(|index| (number * 31 + index * index) as u8).collect()
}

/// A store with tables as well as a journal.
fn fill(folder: &Path) {
    let log = open(folder).unwrap();
    log.create_topics(&[spec("t", 1)], LONG).unwrap();
    for from in (0..RECORDS).step_by(50) {
        publish(&log, (from..from + 50).map(|number| NewRecord::new("t", number.to_string(), value(number))));
    }
}

/// Reads everything; every record that is handed out is the one that was written.
fn read(folder: &Path) -> Result<usize, LogError> {
    let log = open(folder)?;
    let end = log.end_offset(&at("t", 0), Isolation::ReadCommitted, LONG)?;
    let mut reader = log.reader(Isolation::ReadCommitted)?;
    reader.assign(&[(at("t", 0), Position::Beginning)])?;
    let mut count = 0;
    while (count as i64) < end {
        reader.poll(64, LOOK, &mut |record| {
            assert_eq!(record.offset, count as i64);
            assert_eq!(record.value, Some(value(count).as_slice()), "record {count} is not what was written");
            count += 1;
        })?;
    }
    Ok(count)
}

#[test]
fn damage_anywhere_is_an_error_or_harmless() {
    let folder = tempfile::tempdir().unwrap();
    let good = folder.path().join("good");
    fill(&good);
    assert_eq!(read(&good).unwrap(), RECORDS);
    let mut noticed = 0;
    let names: Vec<PathBuf> =
        files(&good).into_iter().map(|path| path.strip_prefix(&good).unwrap().to_owned()).collect();
    assert!(names.iter().any(|name| name.to_string_lossy().contains("tables")), "nothing was flushed: {names:?}");
    for name in &names {
        for damage in [flip_middle, flip_start, truncate, remove] {
            let bad = folder.path().join("bad");
            copy(&good, &bad).unwrap();
            damage(&bad.join(name));
            match read(&bad) {
                Ok(count) => assert_eq!(count, RECORDS, "records were lost without a word: {}", name.display()),
                Err(error) => {
                    noticed += 1;
                    let line = error.to_string();
                    assert!(!line.contains('\n') && line.len() < 400, "{line}");
                }
            }
        }
    }
    assert!(noticed > names.len(), "only {noticed} of {} damages were noticed", 4 * names.len());
}

fn flip_middle(file: &Path) {
    flip(file, fs::metadata(file).unwrap().len() as usize / 2);
}

fn flip_start(file: &Path) {
    flip(file, 0);
}

fn flip(file: &Path, at: usize) {
    let mut bytes = fs::read(file).unwrap();
    for byte in bytes.iter_mut().skip(at).take(16) {
        *byte ^= 0x55;
    }
    fs::write(file, bytes).unwrap();
}

fn truncate(file: &Path) {
    let bytes = fs::read(file).unwrap();
    fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
}

fn remove(file: &Path) {
    fs::remove_file(file).unwrap();
}
