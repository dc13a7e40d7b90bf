#![doc = "Moteseal."]
#![no_std]
#![forbid(unsafe_code)]

pub mod aead;
pub mod control;
pub mod delivery;
pub mod entropy;
pub mod error;
pub mod keys;
pub mod number;
pub mod record;
pub mod replay;
pub mod server;
pub mod session;
pub mod wire;
