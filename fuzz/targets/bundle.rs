//! Any bundle of evidence.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| rollout::fuzzing::bundle(input));
