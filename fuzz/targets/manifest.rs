//! Any text as a manifest.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| manifest::fuzzing::manifest(input));
