#![no_main]

use ingest_gateway::offline::{Door, probe};

libfuzzer_sys::fuzz_target!(|input: &[u8]| probe(Door::CloudEvents, input));
