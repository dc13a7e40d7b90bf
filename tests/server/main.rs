//! The server half, attacked: one named test for each rule that stops an attack, and a random network over all of
//! them. Public API only. The names of the tests are the rules of SPEC.

mod admin;
mod cids;
mod commands;
mod data;
mod gateways;
mod hello;
mod in_flight;
mod indexed;
mod network;
mod path;
mod randomness;
mod restart;
mod stale;
mod stale_network;
mod support;
