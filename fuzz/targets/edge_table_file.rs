//! Any file of a table.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| edge::fuzzing::table_file(input));
