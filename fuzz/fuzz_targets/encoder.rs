#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| unroll::labels::fuzzing::encoder(data));
