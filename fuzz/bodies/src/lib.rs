//! What the fuzz targets do, each as a function of bytes that panics if a promise is broken. Nothing here needs libFuzzer:
//! `tests/replay.rs` runs every body over what was found, on stable Rust.

mod codecs;
mod counter;
mod device;
mod facts;
mod gateway;
mod glass;
mod image;
pub mod seeds;
mod server;
mod session;
mod slow;
mod start;
mod tape;
mod windows;
mod wire;

/// A target: its name, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// Every target. `fuzz_targets/` has a file of the same name for each.
pub const TARGETS: &[Target] = &[
    ("c_api", moteseal_c_harness::run),
    ("codecs", codecs::run),
    ("counter", counter::run),
    ("device", device::run),
    ("gateway_inspect", gateway::inspect),
    ("gateway_journal", gateway::journal),
    ("gateway_line", gateway::command_line),
    ("gateway_registry", gateway::registry),
    ("gateway_start", start::run),
    ("image", image::run),
    ("server", server::run),
    ("session", session::run),
    ("windows", windows::run),
    ("wire", wire::run),
    ("world", moteseal_fuzz_world::run),
];

/// Runs one input through the target of this name.
pub fn run(target: &str, input: &[u8]) {
    let (_, body) = TARGETS.iter().find(|(name, _)| *name == target).expect("a target of this name");
    body(input);
}
