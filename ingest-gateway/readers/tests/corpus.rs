//! Replays the corpora of the fuzz targets, and mutations of them, on the stable compiler.

use std::{fs, path::Path};

use event_readers::probe::{Door, probe};

/// Mutations of each entry.
const MUTATIONS: u64 = 1_500;

const DOORS: [(&str, Door); 6] = [
    ("event", Door::Event),
    ("batch", Door::Batch),
    ("segment", Door::Segment),
    ("posthog", Door::PostHog),
    ("mixpanel", Door::Mixpanel),
    ("cloudevents", Door::CloudEvents),
];

/// xorshift: the same mutations in every run.
fn next(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state as usize
}

fn mutated(entry: &[u8], state: &mut u64) -> Vec<u8> {
    const PIECES: [&[u8]; 12] =
        [b"{", b"[", b"\"", b"\\u", b"\xff", b"\x00", b"1e999", b"null", b",", b":", b"\\ud800", b"]"];
    let mut bytes = entry.to_vec();
    for _ in 0..=next(state) % 3 {
        let at = next(state) % (bytes.len() + 1);
        match next(state) % 4 {
            0 => bytes.truncate(at),
            1 => drop(bytes.splice(at..at, PIECES[next(state) % PIECES.len()].iter().copied())),
            2 if at < bytes.len() => bytes[at] = next(state) as u8,
            _ if at < bytes.len() => drop(bytes.remove(at)),
            _ => {}
        }
    }
    bytes
}

#[test]
fn no_entry_of_a_corpus_and_no_mutation_of_one_brings_a_reader_down() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (name, door) in DOORS {
        let mut entries: Vec<_> =
            fs::read_dir(corpora.join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        assert!(entries.len() >= 3, "{name} has a corpus");
        for path in entries {
            let entry = fs::read(&path).unwrap();
            probe(door, &entry);
            let mut state = 0x9e37_79b9_7f4a_7c15;
            for _ in 0..MUTATIONS {
                probe(door, &mutated(&entry, &mut state));
            }
        }
    }
}
