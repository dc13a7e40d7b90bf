//! What the device tells: one JSON object a line. SPEC sections 9.4 and 9.6.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use moteseal::delivery::{Outcome, Settled};
use moteseal::device::{self, OldKey, Payload};
use serde::{Serialize, Serializer};

/// The events, for `--help`.
pub const HELP: &str = "\
Events on stdout, one JSON object a line; each has `event` and `at`, in ms since the Unix epoch:
  started        device, boot: the boot counter, server
  sent           ticket, payload: taken for sending
  acknowledged   ticket: the server has recorded it
  unknown        ticket: nobody knows; send it again if that does no harm
  unsent         ticket: it was never sealed
  refused        reason: a line that was not taken
  session        epoch: a session is open
  command        payload, epoch, seq, age_ms: at most so old; null if that is not known
  command_refused  seq, age_ms: older than --max-age, or of unknown age
  stale          floor: the server has seen later epochs
  moved          floor: for that the boot counter was moved; it was lost, or the server restored
  reset          the server has lost the session; a new one is being opened
  key_taken      generation: the next device key is in flash
  rotated        the old device key is erased
  error          error: flash, randomness or network fail; it is tried again
  stopped
Payloads are hexadecimal digits, an epoch is boot.count.";

/// Everything that is told.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event<'e> {
    Started { device: Text<'e>, boot: u32, server: Text<'e> },
    Sent { ticket: Option<u16>, payload: Hex<'e> },
    Acknowledged { ticket: u16 },
    Unknown { ticket: u16 },
    Unsent { ticket: u16 },
    Refused { reason: Text<'e> },
    Session { epoch: Text<'e> },
    Command { payload: Hex<'e>, epoch: Text<'e>, seq: u16, age_ms: Option<u64> },
    CommandRefused { seq: u16, age_ms: Option<u64> },
    Stale { floor: Text<'e> },
    Moved { floor: Text<'e> },
    Reset,
    KeyTaken { generation: u8 },
    Rotated,
    Error { error: Text<'e> },
    Stopped,
}

/// A value by its text.
pub struct Text<'e>(pub &'e dyn Display);

impl std::fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self.0)
    }
}

/// Bytes as hexadecimal digits.
#[derive(Debug)]
pub struct Hex<'e>(pub &'e [u8]);

impl Serialize for Hex<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(self.0))
    }
}

#[derive(Serialize)]
struct Line<'e> {
    #[serde(flatten)]
    event: Event<'e>,
    at: u128,
}

/// Tells one event. Fails when nobody listens any more.
pub fn tell(event: Event<'_>) -> Result<(), String> {
    let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let write = || {
        let mut out = io::stdout().lock();
        serde_json::to_writer(&mut out, &Line { event, at })?;
        out.write_all(b"\n")?;
        out.flush()
    };
    write().map_err(|error: io::Error| format!("stdout: {error}"))
}

/// Tells a command.
pub fn tell_command(command: &Payload<'_>) -> Result<(), String> {
    let Payload { bytes, epoch, number, age_ms } = command;
    tell(Event::Command { payload: Hex(bytes), epoch: Text(epoch), seq: number.value(), age_ms: *age_ms })
}

/// Tells what became of a payload.
pub fn tell_settled(settled: Settled) -> Result<(), String> {
    let ticket = settled.ticket.number();
    tell(match settled.outcome {
        Outcome::Acknowledged => Event::Acknowledged { ticket },
        Outcome::Unknown => Event::Unknown { ticket },
        Outcome::Unsent => Event::Unsent { ticket },
    })
}

/// Tells what the device half has noticed.
pub fn tell_device(event: device::Event) -> Result<(), String> {
    match event {
        device::Event::SessionOpened { epoch, old_key } => {
            tell(Event::Session { epoch: Text(&epoch) })?;
            match old_key {
                OldKey::Untouched => Ok(()),
                OldKey::Erased => tell(Event::Rotated),
                OldKey::Kept(error) => tell(Event::Error { error: Text(&error) }),
            }
        }
        device::Event::Stale { floor, moved: false } => tell(Event::Stale { floor: Text(&floor) }),
        device::Event::Stale { floor, moved: true } => tell(Event::Moved { floor: Text(&floor) }),
        device::Event::SessionLost => tell(Event::Reset),
        device::Event::KeyTaken(generation) => tell(Event::KeyTaken { generation: generation.number() }),
        device::Event::CommandRefused { number, age_ms } => {
            tell(Event::CommandRefused { seq: number.value(), age_ms })
        }
        // A control message of a later version, and whatever later versions of the crate notice.
        _ => Ok(()),
    }
}
