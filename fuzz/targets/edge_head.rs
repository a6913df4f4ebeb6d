//! Any bytes from a client of the edge.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| edge::fuzzing::head(input));
