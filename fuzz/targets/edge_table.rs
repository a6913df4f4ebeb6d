//! Any table from an engine.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| edge::fuzzing::table(input));
