//! Firmware in QEMU against the real gateway, through a relay that sees every datagram. Any firmware that tells the
//! lines of `examples/firmware/README.md`: `MOTESEAL_FIRMWARE` is the path of the ELF, `MOTESEAL_MACHINE` the board.
//!
//! ```text
//! rig        the firmware's flash, the gateway and the relay, put together
//! machine    QEMU as a child process, and the lines that the firmware tells
//! relay      between the two: records, loses, delays
//! auditor    opens all that was recorded, and finds any nonce that was used twice
//! promises   what was told, against what was promised
//! ```

mod auditor;
#[path = "../common/gateway.rs"]
mod gateway;
mod keys;
mod life;
mod machine;
mod power;
mod promises;
mod recovery;
mod refusal;
mod relay;
mod rig;
