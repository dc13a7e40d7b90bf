//! The device half against a scripted server made of the lower layers, rule by rule. Each test names the rules of SPEC
//! that it tries to break.

mod board;
mod hello;
mod out_of_reach;
mod outcomes;
mod power;
mod rotation;
mod server;
mod session;
