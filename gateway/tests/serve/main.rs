//! `moteseal serve` and its client commands: the real program, with devices that do what a test wants.

mod crash;
mod damage;
mod exchange;
mod gateway;
mod history;
mod keys;
mod mote;
mod pressure;
