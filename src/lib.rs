#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

pub mod aead;
pub mod boot_counter;
pub mod control;
pub mod delivery;
pub mod device;
pub mod entropy;
pub mod error;
#[cfg(feature = "embedded-storage")]
pub mod flash;
mod hash;
pub mod identity;
pub mod key_slots;
pub mod keys;
mod keystream;
pub mod number;
pub mod record;
pub mod replay;
pub mod scrub;
pub mod server;
pub mod session;
pub mod wire;
