//! See `bodies`, target `gateway_line`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| moteseal_fuzz_bodies::run("gateway_line", data));
