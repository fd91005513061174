//! A process killed at any moment loses nothing it was told is written.

use std::{
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Child, Command, Stdio},
};

use stream_runtime::log::{Log, LogError, NewRecord, NextOffset, config::EmbeddedConfig, embedded::EmbeddedLog};

use super::support::{LONG, Member, at, read_all, spec, text};

/// Names the folder to the child process.
const FOLDER: &str = "TTF_CRASH_TEST_FOLDER";

fn open(folder: &Path) -> Result<EmbeddedLog, LogError> {
    EmbeddedLog::open(&EmbeddedConfig { path: folder.to_owned(), retention_bytes: u64::MAX })
}

/// Runs the named test of this binary as a process of its own, which works on `folder` until it is killed.
fn child(test: &str, folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Says on standard output how far the child has come; false when nobody listens any more.
fn tell(number: i64) -> bool {
    let mut out = std::io::stdout().lock();
    writeln!(out, "done {number}").and_then(|()| out.flush()).is_ok()
}

/// Kills the child once it has told `enough`, and returns the last number it told.
fn kill_after(mut child: Child, enough: i64) -> i64 {
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut last = -1;
    let mut line = String::new();
    while last < enough && out.read_line(&mut line).unwrap() > 0 {
        last = number(&line).unwrap_or(last);
        line.clear();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    // A line without its end may have been cut.
    let whole = rest.rfind('\n').map_or("", |end| &rest[..end]);
    whole.lines().filter_map(number).next_back().unwrap_or(last)
}

fn number(line: &str) -> Option<i64> {
    line.trim().rsplit_once("done ")?.1.parse().ok()
}

#[test]
fn acknowledged_records_survive_a_kill() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        let log = open(Path::new(&folder)).unwrap();
        log.create_topics(&[spec("t", 1)], LONG).unwrap();
        let publisher = log.publisher().unwrap();
        let from = log.end_offset(&at("t", 0), stream_runtime::log::Isolation::ReadCommitted, LONG).unwrap();
        let mut waiting = std::collections::VecDeque::new();
        for value in from.. {
            waiting.push_back(publisher.publish(NewRecord::new("t", "k", value.to_string())).unwrap());
            // Several are on their way at any moment.
            if waiting.len() == 8 {
                let (_, offset) = futures::executor::block_on(waiting.pop_front().unwrap()).unwrap();
                if !tell(offset) {
                    return;
                }
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let mut enough = 0;
    for _ in 0..3 {
        enough += 300;
        let child = child("crash::acknowledged_records_survive_a_kill", folder.path());
        let acknowledged = kill_after(child, enough);
        assert!(acknowledged >= enough, "the child ended by itself after {acknowledged}");
        let log = open(folder.path()).unwrap();
        let read = read_all(&log, "t");
        assert!(read.len() as i64 > acknowledged, "{} records are left of {acknowledged} acknowledged", read.len());
        for (index, record) in read.iter().enumerate() {
            assert_eq!((record.offset, text(record.value.as_deref())), (index as i64, index.to_string()));
        }
        enough = read.len() as i64;
    }
}

#[test]
fn transactions_survive_a_kill_whole() {
    const OUTPUTS: i32 = 3;
    if let Some(folder) = std::env::var_os(FOLDER) {
        let log = open(Path::new(&folder)).unwrap();
        log.create_topics(&[spec("input", 1), spec("output", OUTPUTS)], LONG).unwrap();
        let from = log.committed("g", &[at("input", 0)], LONG).unwrap()[0].next.unwrap_or(0);
        let member = Member::alone(&log, "g", &["input"]);
        let mut transactor = log.transactor("worker").unwrap();
        transactor.init(LONG).unwrap();
        for next in from + 1.. {
            transactor.begin().unwrap();
            for partition in 0..OUTPUTS {
                let record = NewRecord::new("output", "k", next.to_string()).with_partition(partition);
                transactor.produce(&record).unwrap();
            }
            let offset = NextOffset { at: at("input", 0), next, metadata: next.to_string() };
            transactor.commit(&[offset], &member.subscription.group().unwrap(), LONG).unwrap();
            if !tell(next) {
                return;
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let mut enough = 0;
    for _ in 0..3 {
        enough += 100;
        let child = child("crash::transactions_survive_a_kill_whole", folder.path());
        let acknowledged = kill_after(child, enough);
        assert!(acknowledged >= enough, "the child ended by itself after {acknowledged}");
        let log = open(folder.path()).unwrap();
        let committed = log.committed("g", &[at("input", 0)], LONG).unwrap().remove(0);
        let next = committed.next.unwrap();
        assert!(next >= acknowledged, "offset {next} is left of {acknowledged} acknowledged");
        assert_eq!(committed.metadata, next.to_string());
        let read = read_all(&log, "output");
        for partition in 0..OUTPUTS {
            let of_partition: Vec<String> = read
                .iter()
                .filter(|record| record.partition == partition)
                .map(|record| text(record.value.as_deref()))
                .collect();
            let expected: Vec<String> = (1..=next).map(|number| number.to_string()).collect();
            assert_eq!(of_partition, expected, "records and offsets are of one transaction");
        }
        enough = next;
    }
}

#[test]
fn a_second_process_is_told_who_has_the_folder() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        let _log = open(Path::new(&folder)).unwrap();
        tell(0);
        // Until the parent kills it.
        let _ = std::io::stdin().read_line(&mut String::new());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut first = Command::new(std::env::current_exe().unwrap())
        .args(["crash::a_second_process_is_told_who_has_the_folder", "--exact", "--nocapture"])
        .env(FOLDER, folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(first.stdout.take().unwrap());
    let mut line = String::new();
    while number(&line).is_none() {
        line.clear();
        assert!(out.read_line(&mut line).unwrap() > 0, "the child ended before it opened the log");
    }
    let refused = open(folder.path()).err().unwrap().to_string();
    let pid = first.id();
    first.kill().unwrap();
    first.wait().unwrap();
    assert_eq!(refused, format!("{} is in use by another ttf process (pid {pid})", folder.path().display()));
    open(folder.path()).unwrap();
}
