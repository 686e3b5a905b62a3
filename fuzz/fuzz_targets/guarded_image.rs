#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pagestone_fuzzing::guarded_image(bytes));
