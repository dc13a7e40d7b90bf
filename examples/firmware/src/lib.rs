//! A device, whatever board it is on: what it does, what it says, and its flash. The board's drivers are in the
//! program `firmware`; this library builds for any target.
//!
//! ```text
//! options    what the device is told at its start
//! mote       the main loop: telemetry, commands, and whatever the protocol has due
//! report     the lines that it tells
//! flash      memory-mapped NOR flash under its rules, written through to something that lasts
//! ```

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod flash;
pub mod mote;
pub mod options;
pub mod report;
