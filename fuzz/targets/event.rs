//! Any event of a journal.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| rollout::fuzzing::event(input));
