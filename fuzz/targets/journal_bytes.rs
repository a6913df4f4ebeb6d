//! Any change to the bytes of a journal.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| engine::journal::fuzzing::bytes(input));
