//! The structs and enums that C sees. Their comments are the header's. Nothing here does anything.

use core::ffi::{c_int, c_void};

use crate::sizes::DEVICE_LEN;

/// Memory for one device. What is in it is no business of yours.
#[repr(C, align(8))]
pub struct Device {
    opaque: [u64; DEVICE_LEN / 8],
}

/// When a Hello was made: which boot of the device, and which Hello in that boot. Names a session; only grows.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epoch {
    /// The boot counter.
    pub boot: u32,
    /// The count of Hellos in that boot, from 0.
    pub count: u16,
}

/// Your hardware and how the device behaves. Start from `MOTESEAL_CONFIG_INIT` and set the callbacks. The library
/// keeps a copy.
///
/// Callbacks return 0 for success and anything else for failure. `offset` counts from the start of the
/// partition of `MOTESEAL_FLASH_LEN` bytes; all offsets and lengths are within it. A callback must not call the
/// library with the same device (`MOTESEAL_REENTERED`), must not jump out by `longjmp` or an exception, and must
/// not keep the pointer to the bytes, which are keys.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Config {
    /// `MOTESEAL_DATAGRAM_MAX` as your compiler sees it; `moteseal_boot` compares it to the library's.
    pub datagram_max: u32,
    /// `MOTESEAL_FLASH_PAGE`, likewise.
    pub flash_page: u32,
    /// `MOTESEAL_FLASH_WORD`, likewise.
    pub flash_word: u32,
    /// Handed to each callback, for instance to tell two devices apart. May be NULL.
    pub context: *mut c_void,
    /// Reads `len` bytes. `offset` and `len` are multiples of `MOTESEAL_FLASH_WORD`.
    pub flash_read:
        Option<unsafe extern "C" fn(context: *mut c_void, offset: u32, bytes: *mut u8, len: usize) -> c_int>,
    /// Writes `len` bytes to erased flash, durably before it returns. `offset` and `len` are multiples of
    /// `MOTESEAL_FLASH_WORD`; `bytes` has no alignment. No word is written twice between erases.
    pub flash_write: Option<
        unsafe extern "C" fn(context: *mut c_void, offset: u32, bytes: *const u8, len: usize) -> c_int,
    >,
    /// Erases one page: `offset` is a multiple of `MOTESEAL_FLASH_PAGE`, `len` is `MOTESEAL_FLASH_PAGE`. Erased flash
    /// reads as FF. On FRAM or EEPROM write FF.
    pub flash_erase: Option<unsafe extern "C" fn(context: *mut c_void, offset: u32, len: usize) -> c_int>,
    /// Fills `len` bytes from a cryptographic generator. NULL if there is none: the device then refuses to boot once
    /// its boot counter is lost. A device has one or has none, for good.
    pub random: Option<unsafe extern "C" fn(context: *mut c_void, bytes: *mut u8, len: usize) -> c_int>,
    /// The shortest first wait for an answer, in ms: 2,000.
    pub answer_timeout_ms: u32,
    /// The longest wait between two Hellos, in ms: 600,000.
    pub hello_cap_ms: u32,
    /// After so long without an acknowledgement, in ms, a payload asks for one by itself: 600,000.
    pub confirm_after_ms: u32,
    /// How old a command may be, in ms: 600,000.
    pub command_age_ms: u32,
    /// After so many payloads without a request for an acknowledgement, one asks by itself: 64.
    pub confirm_every: u16,
    /// How often a payload in a session is repeated: 4; 255 counts as 254.
    pub repeats: u8,
    /// What happens to a command that is older than `command_age_ms`, or whose age is not known. 0: it is handed up,
    /// and its age is told. Anything else: it is refused, which is an event.
    pub refuse_old: u8,
}

/// What became of one of your payloads.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// There is nothing to tell.
    #[default]
    None = 0,
    /// The server has recorded it.
    Acknowledged = 1,
    /// It was sent, and what came of it will never be known. Send it again, as a new payload, if that does no harm.
    Unknown = 2,
    /// It was never sealed: nobody has it. It may be sent again without a second thought.
    Unsent = 3,
}

/// The outcome of the payload that `ticket` names.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// As `moteseal_send` gave it.
    pub ticket: u16,
    /// What became of the payload.
    pub outcome: Outcome,
}

/// A payload that was taken.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Length in bytes of the datagram at the front of `out`: send it now. 0: the payload waits for a session, and
    /// comes out of `moteseal_poll`.
    pub datagram_len: usize,
    /// Names the payload when its outcome is told. 0: no outcome will be told.
    pub ticket: u16,
}

/// A session that was closed.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Closed {
    /// Length in bytes of the datagram at the front of `out`: send it now. 0: there was no session to close.
    pub datagram_len: usize,
    /// How many of `settled` are filled in.
    pub settled_count: u8,
    /// What became of your payloads.
    pub settled: [Settled; 2],
}

/// Something that you may want to log.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Event {
    /// Nothing else happened.
    #[default]
    None = 0,
    /// A session is open: `epoch`, `old_key`.
    SessionOpened = 1,
    /// The server has seen later epochs, up to `epoch`; a new Hello follows. `moved` says whether the boot counter was
    /// moved for it: it had been lost or rolled back, or the server was restored.
    Stale = 2,
    /// The server has lost the session; a new one is being opened.
    SessionLost = 3,
    /// A new device key is in flash, and a Hello under it follows: `generation`.
    KeyTaken = 4,
    /// A command was older than `command_age_ms`, or of unknown age, and is not handed up: `seq`, `age_ms`.
    CommandRefused = 5,
    /// A control message that this version does not act upon.
    ControlIgnored = 6,
    /// An event that this library does not know.
    Other = 7,
}

/// What became of the key before the one under which a session was opened.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OldKey {
    /// There is none, or the session is still under it.
    #[default]
    Untouched = 0,
    /// It is erased: the rotation is finished.
    Erased = 1,
    /// Erasing it failed: check the flash. It is tried again in the next session.
    Kept = 2,
}

/// What a datagram brought.
#[repr(C)]
pub struct Received {
    /// The server's payload, within the datagram that you handed over: it is there as long as you leave that memory
    /// alone. NULL if there is none.
    pub payload: *const u8,
    /// Length of the payload in bytes.
    pub payload_len: usize,
    /// How old the payload, or the refused command, may be, in ms. `MOTESEAL_AGE_UNKNOWN`: not known, or older than
    /// `command_age_ms`.
    pub age_ms: u64,
    /// With a payload, the session's; with an event, see there.
    pub epoch: Epoch,
    /// The number of the payload, or of the refused command, within its session. Device id, epoch and number name a
    /// payload for good.
    pub seq: u16,
    /// How many of `settled` are filled in.
    pub settled_count: u8,
    /// Own payloads whose outcome is known now.
    pub settled: [Settled; 2],
    /// What else happened.
    pub event: Event,
    /// With `MOTESEAL_EVENT_SESSION_OPENED`: what became of the key before.
    pub old_key: OldKey,
    /// With `MOTESEAL_EVENT_KEY_TAKEN`: the generation of the new key.
    pub generation: u8,
    /// With `MOTESEAL_EVENT_STALE`: 1 if the boot counter was moved, else 0.
    pub moved: u8,
}
