//! See `bodies`, target `gateway_start`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| moteseal_fuzz_bodies::run("gateway_start", data));
