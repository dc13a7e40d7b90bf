//! See `bodies`, target `image`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| moteseal_fuzz_bodies::run("image", data));
