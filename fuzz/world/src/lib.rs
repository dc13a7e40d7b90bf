//! The world of `tests/hostile` as it is there, its auditor included: both real halves, a network, a disk and the power
//! of five devices, all owned by an attacker. What is chance there is a fuzzer's bytes here (`random`).

#![allow(dead_code, reason = "what the test asks of a whole run, this crate does not")]

#[path = "../../../tests/hostile/auditor.rs"]
mod auditor;
#[path = "../../../tests/hostile/commands.rs"]
mod commands;
#[path = "../../../tests/hostile/coverage.rs"]
mod coverage;
#[path = "../../../tests/hostile/devices.rs"]
mod devices;
#[path = "../../../tests/hostile/gateway.rs"]
mod gateway;
#[path = "../../../tests/hostile/mote.rs"]
mod mote;
#[path = "../../../tests/hostile/network.rs"]
mod network;
mod random;
#[path = "../../../tests/hostile/store.rs"]
mod store;
#[path = "../../../tests/hostile/thief.rs"]
mod thief;
#[path = "../../../tests/hostile/world.rs"]
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
