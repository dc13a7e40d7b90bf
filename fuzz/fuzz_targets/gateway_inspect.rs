//! See `bodies`, target `gateway_inspect`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| moteseal_fuzz_bodies::run("gateway_inspect", data));
