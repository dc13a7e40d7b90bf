//! `moteseal serve` and its client commands: the real program, with devices that do what a test wants.

mod crash;
mod damage;
mod exchange;
#[path = "../common/gateway.rs"]
mod gateway;
mod history;
mod keys;
mod mote;
mod pressure;
mod site;
