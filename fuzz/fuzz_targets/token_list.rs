#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| unroll::interop::fuzzing::token_list(data));
