#![no_main]

use event_readers::probe::{Door, probe};

libfuzzer_sys::fuzz_target!(|input: &[u8]| probe(Door::Event, input));
