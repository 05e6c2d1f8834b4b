#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| unroll_kernels::fuzzing::skipgram(data));
