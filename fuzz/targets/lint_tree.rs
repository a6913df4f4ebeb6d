//! Any tree of files, judged.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| infra::lint::fuzzing::tree(input));
