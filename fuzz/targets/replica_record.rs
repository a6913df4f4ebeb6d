//! Any record of a replica or a task.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| drivers::platform::process::fuzzing::record(input));
