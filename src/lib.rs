#![doc = "Moteseal."]
#![no_std]
#![forbid(unsafe_code)]
