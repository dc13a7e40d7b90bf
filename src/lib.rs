#![doc = "Moteseal."]
#![no_std]
#![forbid(unsafe_code)]

pub mod boot_counter;
pub mod entropy;
pub mod error;
#[cfg(feature = "embedded-storage")]
pub mod flash;
pub mod identity;
pub mod key_slots;
pub mod keys;
pub mod number;
