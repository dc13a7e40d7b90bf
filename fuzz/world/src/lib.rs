//! A small world, and its auditor: both real halves, a network, a disk and the power of five devices, all owned by an
//! attacker. What is chance elsewhere is a fuzzer's bytes here (`random`). `simulation` is the large world, with several
//! gateways, and chance from a seed.

#![allow(dead_code, reason = "words of failures, for whoever debugs one")]

mod auditor;
mod commands;
mod coverage;
mod devices;
mod gateway;
mod mote;
mod network;
mod random;
mod store;
mod thief;
mod world;

/// As many steps as the bytes last, and then calm: everybody comes back, everything has its word, and no promise was
/// broken. Panics if one was.
pub fn run(bytes: &[u8]) {
    random::load(bytes);
    let mut world = world::World::new(0);
    while !random::is_used_up() {
        world.storm(16);
    }
    world.calm();
}
