//! Any change to the rows of a journal.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| engine::journal::fuzzing::rows(input));
