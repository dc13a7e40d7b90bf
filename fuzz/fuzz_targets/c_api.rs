//! See `bodies`, target `c_api`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| moteseal_fuzz_bodies::run("c_api", data));
