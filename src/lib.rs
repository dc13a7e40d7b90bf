#![doc = "Moteseal."]
#![no_std]
#![forbid(unsafe_code)]

pub mod entropy;
pub mod error;
pub mod identity;
pub mod keys;
pub mod number;
