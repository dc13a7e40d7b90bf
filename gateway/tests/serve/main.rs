//! `moteseal serve` and its client commands: the real program, with devices that do what a test wants.

mod exchange;
mod gateway;
mod mote;
