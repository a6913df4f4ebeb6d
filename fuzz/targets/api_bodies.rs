//! Any body of a command.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| engine::api::fuzzing::bodies(input));
