//! See `bodies`, target `gateway_journal`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| moteseal_fuzz_bodies::run("gateway_journal", data));
