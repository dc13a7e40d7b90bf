//! The functions of the header. Their comments are the header's. Each checks what it was given, claims the device,
//! calls the crate, and says what came of it in C's words.
//!
//! # Safety
//! What all of them rely on, and the header asks for: a pointer that is not NULL points to memory of its type or of the
//! stated length, which nobody else uses during the call; the callbacks are functions of their types.
#![allow(clippy::missing_safety_doc)] // said above, once

use core::ffi::c_char;

use moteseal::boot_counter::{BootCounter, Stored};
use moteseal::delivery::{Millis, Settled as InnerSettled, Ticket, Timing};
use moteseal::device::{self, CommandAge, Confirm, Hardware};
use moteseal::error::{ReceiveError, StorageError};
use moteseal::number::{self, DeviceId};

use crate::buffers::{self, Output};
use crate::error::{self, Error};
use crate::hardware::Callbacks;
use crate::memory::{self, Claim, Inner, look};
use crate::types::{Closed, Config, Device, Epoch, Event, OldKey, Outcome, Received, Sent, Settled};

/// A function of the header: what fails in it is its return value.
fn answer(call: impl FnOnce() -> Result<(), Error>) -> Error {
    call().err().unwrap_or(Error::Ok)
}

/// Starts a device: reads its identity and advances its boot counter, the one flash write of a boot. Call it once
/// after each reset, before anything else. `device` must be zero (static memory is, or `MOTESEAL_DEVICE_INIT`) or
/// wiped. It stays where it is until `moteseal_wipe`; `config` may go. No session is opened before something is sent
/// or `moteseal_connect` is called.
///
/// Errors: your program's or your hardware's. The device is blank again, and you must not send anything for it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn moteseal_boot(device: *mut Device, config: *const Config) -> Error {
    answer(|| {
        buffers::apart(device, size_of::<Device>(), config, size_of::<Config>())?;
        // SAFETY: see the head of this file.
        let config = unsafe { buffers::shared(config)? };
        // SAFETY: see the head of this file.
        let hardware = unsafe { Callbacks::new(config)? };
        // SAFETY: see the head of this file.
        unsafe { memory::settle(device, || Ok(Inner::boot(hardware, behaviour(config))?)) }
    })
}

/// The behaviour that a config asks for.
fn behaviour(config: &Config) -> device::Config {
    let bound_ms = config.command_age_ms;
    device::Config {
        timing: Timing {
            answer_timeout_ms: config.answer_timeout_ms,
            repeats: config.repeats.min(254),
            hello_cap_ms: config.hello_cap_ms,
            confirm_after_ms: config.confirm_after_ms,
            confirm_every: config.confirm_every,
        },
        command_age: if config.refuse_old == 0 {
            CommandAge::Report { bound_ms }
        } else {
            CommandAge::Refuse { bound_ms }
        },
    }
}

/// Checks that the partition holds a whole factory image, without booting: nothing is written. For a production line,
/// or to choose a partition. Writes the device id, `MOTESEAL_DEVICE_ID_LEN` bytes, to `device_id`.
///
/// Errors: `MOTESEAL_NULL_POINTER`, `MOTESEAL_WRONG_BUILD`, `MOTESEAL_FLASH_READ`, `MOTESEAL_IMAGE_...`. `device_id` is
/// then left alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn moteseal_check(config: *const Config, device_id: *mut u8) -> Error {
    answer(|| {
        buffers::beside(config, device_id, DeviceId::LEN)?;
        // SAFETY: see the head of this file.
        let config = unsafe { buffers::shared(config)? };
        // SAFETY: see the head of this file.
        let mut hardware = unsafe { Callbacks::new(config)? };
        if device_id.is_null() {
            return Err(Error::NullPointer);
        }
        let id = hardware.check()?;
        // SAFETY: not NULL; see the head of this file.
        unsafe { device_id.cast::<[u8; DeviceId::LEN]>().write(*id.as_bytes()) };
        Ok(())
    })
}

/// Ends a device and wipes its memory, keys included, and the stack below the call, where ciphers leave copies: call it where
/// you call the others. It takes 1.5 KiB of stack for that, or 16 KiB where pointers have 64 bits. Nothing is sent (see
/// `moteseal_close`); what is outstanding is forgotten, as by a power cut. The memory is blank then, and may be booted
/// again. Wipes copies, too. Memory that is blank stays so.
///
/// Errors: `MOTESEAL_NULL_POINTER`, `MOTESEAL_MISALIGNED`, `MOTESEAL_REENTERED`, `MOTESEAL_NOT_BOOTED` if this is neither
/// a device nor blank. Nothing is wiped then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn moteseal_wipe(device: *mut Device) -> Error {
    // SAFETY: see the head of this file.
    answer(|| unsafe { memory::wipe(device) })
}

/// Takes a payload of 1 to `MOTESEAL_PAYLOAD_MAX` bytes. In a session it goes out as Data. Without one it goes out in a
/// Hello, or waits until a session is open. `out` takes the datagram; `out_size` is at least `MOTESEAL_DATAGRAM_MAX`.
///
/// `confirm` other than 0: the payload is repeated until the server acknowledges it, and its outcome is told by
/// `moteseal_receive`. 0: it is sent once, unless the protocol wants an acknowledgement at this point anyway. One
/// payload is outstanding or waits at a time; payloads without `confirm` go out beside it.
///
/// Errors: your program's or your hardware's; nothing of the payload was kept or sent.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn moteseal_send(
    device: *mut Device,
    now_ms: u64,
    payload: *const u8,
    payload_len: usize,
    confirm: u8,
    out: *mut u8,
    out_size: usize,
    sent: *mut Sent,
) -> Error {
    answer(|| {
        buffers::beside(sent, payload, payload_len)?;
        buffers::beside(sent, out, out_size)?;
        // SAFETY: see the head of this file.
        let sent = unsafe { Output::new(device, sent, Sent::default())? };
        // SAFETY: see the head of this file.
        let mut claim = unsafe { Claim::new(device)? };
        if payload_len == 0 {
            return Err(Error::Empty);
        }
        // SAFETY: see the head of this file, and `out` is apart from it.
        let payload = unsafe { buffers::input(device, payload, payload_len)? };
        buffers::apart(payload.as_ptr(), payload_len, out, out_size)?;
        // SAFETY: see the head of this file.
        let out = unsafe { buffers::out(device, out, out_size)? };
        let confirm = if confirm == 0 { Confirm::No } else { Confirm::Yes };
        let taken = claim.send(moment(now_ms), payload, confirm, out)?;
        sent.put(Sent { datagram_len: len(taken.datagram), ticket: taken.ticket.map_or(0, Ticket::number) });
        Ok(())
    })
}

/// Takes a datagram of `len` bytes that came from the network, at the time of its arrival. It is decrypted in place.
/// One that was cut off does not verify: for the length of your buffer see `MOTESEAL_INPUT_MIN`.
/// Call `moteseal_poll` afterwards until it has nothing: an answer may be due.
///
/// Errors: any. Look at `received` all the same: an outcome may be told along with an error. What your hardware failed
/// at was not acknowledged, and the server tries again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn moteseal_receive(
    device: *mut Device,
    now_ms: u64,
    datagram: *mut u8,
    len: usize,
    received: *mut Received,
) -> Error {
    answer(|| {
        buffers::beside(received, datagram, len)?;
        // SAFETY: see the head of this file.
        let output = unsafe { Output::new(device, received, Received::NOTHING)? };
        // SAFETY: see the head of this file.
        let mut claim = unsafe { Claim::new(device)? };
        // SAFETY: see the head of this file.
        let datagram = unsafe { buffers::in_place(device, datagram, len)? };
        let mut received = Received::NOTHING;
        let taken = claim.receive(moment(now_ms), datagram);
        let error = match taken {
            Ok(taken) => {
                received.fill_in(taken);
                Ok(())
            }
            Err(error) => {
                if let ReceiveError::InvalidConnectionId(invalid) = error {
                    (received.settled_count, received.settled) = settled(invalid.settled.as_slice());
                }
                Err(error.into())
            }
        };
        output.put(received);
        error
    })
}

/// The next datagram that is due: an acknowledgement, a repeat, a Hello. Call it until `*len` is 0, after each
/// `moteseal_receive` and at each deadline. `out_size` is at least `MOTESEAL_DATAGRAM_MAX`; `*len` is the length in bytes
/// of the datagram at the front of `out`.
///
/// Errors: your program's; your hardware's, and then what was due stays due, later and later.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn moteseal_poll(
    device: *mut Device,
    now_ms: u64,
    out: *mut u8,
    out_size: usize,
    len: *mut usize,
) -> Error {
    answer(|| {
        buffers::beside(len, out, out_size)?;
        // SAFETY: see the head of this file.
        let output = unsafe { Output::new(device, len, 0)? };
        // SAFETY: see the head of this file.
        let mut claim = unsafe { Claim::new(device)? };
        // SAFETY: see the head of this file.
        let out = unsafe { buffers::out(device, out, out_size)? };
        output.put(self::len(claim.poll(moment(now_ms), out)?));
        Ok(())
    })
}

/// When to call `moteseal_poll` next, if no datagram comes before. A time in the past means at once, `MOTESEAL_NEVER`
/// that there is nothing to wait for.
///
/// Errors: your program's; `*deadline_ms` is then `MOTESEAL_NEVER`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn moteseal_deadline(device: *const Device, deadline_ms: *mut u64) -> Error {
    answer(|| {
        // SAFETY: see the head of this file.
        let output = unsafe { Output::new(device, deadline_ms, u64::MAX)? };
        // SAFETY: see the head of this file.
        output.put(unsafe { look(device)? }.deadline().unwrap_or(u64::MAX));
        Ok(())
    })
}

/// Opens a session if there is none. In a session, asks the server for a sign of life. Either comes from the next
/// `moteseal_poll`.
///
/// Errors: your program's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn moteseal_connect(device: *mut Device, now_ms: u64) -> Error {
    answer(|| {
        // SAFETY: see the head of this file.
        unsafe { Claim::new(device)? }.connect(moment(now_ms));
        Ok(())
    })
}

/// Takes back the payload that `ticket` names, if it waits or stands in a Hello without an answer. `*outcome` says
/// whether it was sent. For any other ticket it is `MOTESEAL_OUTCOME_NONE`: that outcome was told or will be.
///
/// Errors: your program's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn moteseal_withdraw(
    device: *mut Device,
    now_ms: u64,
    ticket: u16,
    outcome: *mut Outcome,
) -> Error {
    answer(|| {
        // SAFETY: see the head of this file.
        let output = unsafe { Output::new(device, outcome, Outcome::None)? };
        // SAFETY: see the head of this file.
        let mut claim = unsafe { Claim::new(device)? };
        let withdrawn = Ticket::new(ticket).and_then(|ticket| claim.withdraw(moment(now_ms), ticket));
        output.put(withdrawn.map_or(Outcome::None, Outcome::from));
        Ok(())
    })
}

/// Ends the session and whatever is outstanding; the device is as after boot. The datagram tells the server, so that
/// it sends nothing more in vain: before a long sleep or a reset. `out_size` is at least `MOTESEAL_DATAGRAM_MAX`.
///
/// Errors: your program's, and nothing has changed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn moteseal_close(
    device: *mut Device,
    now_ms: u64,
    out: *mut u8,
    out_size: usize,
    closed: *mut Closed,
) -> Error {
    answer(|| {
        buffers::beside(closed, out, out_size)?;
        // SAFETY: see the head of this file.
        let output = unsafe { Output::new(device, closed, Closed::default())? };
        // SAFETY: see the head of this file.
        let mut claim = unsafe { Claim::new(device)? };
        // SAFETY: see the head of this file.
        let out = unsafe { buffers::out(device, out, out_size)? };
        let done = claim.close(moment(now_ms), out)?;
        let (settled_count, settled) = settled(&done.settled);
        output.put(Closed { datagram_len: len(done.datagram), settled_count, settled });
        Ok(())
    })
}

/// Writes the public name of the device, `MOTESEAL_DEVICE_ID_LEN` bytes, to `device_id`.
///
/// Errors: your program's; `device_id` is then left alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn moteseal_device_id(device: *const Device, device_id: *mut u8) -> Error {
    answer(|| {
        // SAFETY: see the head of this file.
        let id = unsafe { look(device)? }.device_id();
        // SAFETY: see the head of this file.
        unsafe { Output::new(device, device_id.cast(), *id.as_bytes())? };
        Ok(())
    })
}

/// Reads the boot counter from the flash: 1 after the first boot, more after each.
///
/// Errors: your program's; `MOTESEAL_FLASH_READ`, `MOTESEAL_FLASH_VERIFY` if there is none any more. `*boot` is then 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn moteseal_boot_count(device: *mut Device, boot: *mut u32) -> Error {
    answer(|| {
        // SAFETY: see the head of this file.
        let output = unsafe { Output::new(device, boot, 0)? };
        // SAFETY: see the head of this file.
        let mut claim = unsafe { Claim::new(device)? };
        let stored = claim.hardware().counter().load()?;
        let Stored::Intact(boot) = stored else { return Err(StorageError::Verify.into()) };
        output.put(boot);
        Ok(())
    })
}

/// Whether there is a session: `*open` is 1 or 0, and `*epoch` its epoch or zero. It may be one that only receives,
/// while a new one is opened.
///
/// Errors: your program's; `*open` is then 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn moteseal_session(device: *const Device, open: *mut u8, epoch: *mut Epoch) -> Error {
    answer(|| {
        buffers::beside(epoch, open, 1)?;
        // SAFETY: see the head of this file.
        let open = unsafe { Output::new(device, open, 0)? };
        // SAFETY: see the head of this file.
        let epoch = unsafe { Output::new(device, epoch, Epoch::default())? };
        // SAFETY: see the head of this file.
        if let Some(session) = unsafe { look(device)? }.session() {
            open.put(1);
            epoch.put(session.into());
        }
        Ok(())
    })
}

/// What the error means and what to do about it: a static string in English. Never NULL, whatever the number.
#[unsafe(no_mangle)]
pub extern "C" fn moteseal_error_text(error: u8) -> *const c_char {
    error::text(error).as_ptr()
}

/// A time that leaves room behind it. What C calls a time may be the -1 of a clock that failed: at the end of time a
/// repeat is due again as soon as it was sent, and who polls until there is nothing would send it without end.
const fn moment(now_ms: u64) -> Millis {
    const LATEST: Millis = u64::MAX / 2;
    if now_ms < LATEST { now_ms } else { LATEST }
}

/// The length of a datagram, 0 if there is none.
fn len(datagram: Option<&[u8]>) -> usize {
    datagram.map_or(0, <[u8]>::len)
}

/// Outcomes as an array and how many of it count.
fn settled(outcomes: &[InnerSettled]) -> (u8, [Settled; 2]) {
    let (mut count, mut settled) = (0, [Settled::default(); 2]);
    for (to, from) in settled.iter_mut().zip(outcomes) {
        *to = Settled { ticket: from.ticket.number(), outcome: from.outcome.into() };
        count += 1;
    }
    (count, settled)
}

impl From<device::Outcome> for Outcome {
    fn from(outcome: device::Outcome) -> Self {
        match outcome {
            device::Outcome::Acknowledged => Self::Acknowledged,
            device::Outcome::Unknown => Self::Unknown,
            device::Outcome::Unsent => Self::Unsent,
        }
    }
}

impl From<number::Epoch> for Epoch {
    fn from(epoch: number::Epoch) -> Self {
        Self { boot: epoch.boot(), count: epoch.count() }
    }
}

impl Received {
    const NOTHING: Self = Self {
        payload: core::ptr::null(),
        payload_len: 0,
        age_ms: u64::MAX,
        epoch: Epoch { boot: 0, count: 0 },
        seq: 0,
        settled_count: 0,
        settled: [Settled { ticket: 0, outcome: Outcome::None }; 2],
        event: Event::None,
        old_key: OldKey::Untouched,
        generation: 0,
        moved: 0,
    };

    fn fill_in(&mut self, received: device::Received<'_>) {
        (self.settled_count, self.settled) = settled(&received.settled);
        if let Some(event) = received.event {
            self.fill_in_event(event);
        }
        if let Some(payload) = received.payload {
            (self.payload, self.payload_len) = (payload.bytes.as_ptr(), payload.bytes.len());
            (self.epoch, self.seq) = (payload.epoch.into(), payload.number.value());
            self.age_ms = payload.age_ms.unwrap_or(u64::MAX);
        }
    }

    fn fill_in_event(&mut self, event: device::Event) {
        self.event = match event {
            device::Event::SessionOpened { epoch, old_key } => {
                self.epoch = epoch.into();
                self.old_key = match old_key {
                    device::OldKey::Untouched => OldKey::Untouched,
                    device::OldKey::Erased => OldKey::Erased,
                    device::OldKey::Kept(_) => OldKey::Kept,
                };
                Event::SessionOpened
            }
            device::Event::Stale { floor, moved } => {
                (self.epoch, self.moved) = (floor.into(), moved.into());
                Event::Stale
            }
            device::Event::SessionLost => Event::SessionLost,
            device::Event::KeyTaken(generation) => {
                self.generation = generation.number();
                Event::KeyTaken
            }
            device::Event::CommandRefused { number, age_ms } => {
                (self.seq, self.age_ms) = (number.value(), age_ms.unwrap_or(u64::MAX));
                Event::CommandRefused
            }
            device::Event::ControlIgnored => Event::ControlIgnored,
            _ => Event::Other,
        };
    }
}
