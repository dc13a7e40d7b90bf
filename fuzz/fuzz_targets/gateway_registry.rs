//! See `bodies`, target `gateway_registry`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| moteseal_fuzz_bodies::run("gateway_registry", data));
