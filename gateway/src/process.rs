//! The process itself: what of its memory others may see. Keys are in it, so it leaves no core dump, and no other process of
//! the same user can read it or trace it.

use rustix::process::{self, Resource, Rlimit};

/// Closes the memory of this process to others, before any key is in it. Every command does it.
///
/// The limit alone would leave dumps that the kernel pipes into a program, and tracers; where there is no more than the limit,
/// on other systems than Linux, that is what there is.
pub fn close_memory() -> Result<(), String> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    process::setrlimit(Resource::Core, none)
        .and_then(|()| refuse_tracers())
        .map_err(|error| format!("core dumps cannot be switched off: {error}"))
}

#[cfg(target_os = "linux")]
fn refuse_tracers() -> rustix::io::Result<()> {
    process::set_dumpable_behavior(process::DumpableBehavior::NotDumpable)
}

#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "as on Linux")]
fn refuse_tracers() -> rustix::io::Result<()> {
    Ok(())
}
