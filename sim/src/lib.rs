//! Simulated hardware: NOR flash that keeps the rules of the real thing and whose power can be cut in the
//! middle of any bit. For tests, fuzzing, and the simulated devices of the `moteseal` program. Deterministic:
//! what looks random comes from seeds that the caller gives.

#![forbid(unsafe_code)]

pub mod leaks;
pub mod nor;

mod random;
