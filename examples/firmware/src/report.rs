//! What the device tells: one line each, for people and for tests. Never a key.

use core::fmt;

use moteseal::device::{Millis, Outcome, Payload, Settled, Ticket};
use moteseal::number::{DeviceId, Epoch, Generation};

/// A line.
pub enum Line<'l> {
    /// `device ID boot N`: the first one. The boot counter is advanced, nothing is sent yet.
    Device(DeviceId, u32),
    /// `sent TICKET|- HEX`: a payload was taken for sending; without a ticket, no outcome will be told.
    Sent(Option<Ticket>, &'l [u8]),
    /// `session BOOT.COUNT`: a session is open.
    Session(Epoch),
    /// `acknowledged TICKET`, `unknown TICKET` or `unsent TICKET`: what became of a payload.
    Settled(Settled),
    /// `command HEX seq N age MS|-`: a payload of the server's, at most so old.
    Command(&'l Payload<'l>),
    /// `refused seq N age MS|-`: a command that was too old.
    Refused(u16, Option<Millis>),
    /// `stale BOOT.COUNT moved|kept`: the server has seen later epochs; the boot counter was moved for that, or not.
    Stale(Epoch, bool),
    /// `reset`: the server has lost the session.
    Reset,
    /// `key taken GENERATION`: the next device key is in flash.
    KeyTaken(Generation),
    /// `rotated`: the device key before is erased.
    Rotated,
    /// `closed`: the session is closed, and the device stops.
    Closed,
    /// `error TEXT`: flash, randomness or network fail; it is tried again.
    Error(&'l dyn fmt::Display),
    /// `stopped: TEXT`: the device cannot go on.
    Stopped(&'l dyn fmt::Display),
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(id, boot) => write!(f, "device {id} boot {boot}"),
            Self::Sent(Some(ticket), payload) => write!(f, "sent {} {}", ticket.number(), Hex(payload)),
            Self::Sent(None, payload) => write!(f, "sent - {}", Hex(payload)),
            Self::Session(epoch) => write!(f, "session {epoch}"),
            Self::Settled(settled) => {
                write!(f, "{} {}", word(settled.outcome), settled.ticket.number())
            }
            Self::Command(Payload { bytes, number, age_ms, .. }) => {
                write!(f, "command {} seq {} age {}", Hex(bytes), number.value(), Age(*age_ms))
            }
            Self::Refused(number, age_ms) => write!(f, "refused seq {number} age {}", Age(*age_ms)),
            Self::Stale(floor, moved) => {
                write!(f, "stale {floor} {}", if *moved { "moved" } else { "kept" })
            }
            Self::Reset => f.write_str("reset"),
            Self::KeyTaken(generation) => write!(f, "key taken {}", generation.number()),
            Self::Rotated => f.write_str("rotated"),
            Self::Closed => f.write_str("closed"),
            Self::Error(text) => write!(f, "error {text}"),
            Self::Stopped(text) => write!(f, "stopped: {text}"),
        }
    }
}

const fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Acknowledged => "acknowledged",
        Outcome::Unknown => "unknown",
        Outcome::Unsent => "unsent",
    }
}

/// Bytes as hexadecimal digits.
struct Hex<'b>(&'b [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// An age in milliseconds, or `-` where it is not known.
struct Age(Option<Millis>);

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(age) => write!(f, "{age}"),
            None => f.write_str("-"),
        }
    }
}

#[cfg(test)]
mod tests {
    use moteseal::number::SequenceNumber;

    use super::*;

    #[test]
    fn lines_are_the_documented_ones() {
        let payload = |age_ms| Payload {
            bytes: b"on",
            epoch: Epoch::new(7, 1),
            number: SequenceNumber::new(3),
            age_ms,
        };
        let settled = |outcome| Line::Settled(Settled { ticket: Ticket::FIRST.next(), outcome });
        let generation = Generation::new(2).unwrap();
        for (line, text) in [
            (Line::Device(DeviceId::new([0xD0; 8]), 7), "device d0d0d0d0d0d0d0d0 boot 7"),
            (Line::Sent(Some(Ticket::FIRST), b"7.1"), "sent 1 372e31"),
            (Line::Sent(None, &[0, 0xFF]), "sent - 00ff"),
            (Line::Session(Epoch::new(7, 1)), "session 7.1"),
            (settled(Outcome::Acknowledged), "acknowledged 2"),
            (settled(Outcome::Unknown), "unknown 2"),
            (settled(Outcome::Unsent), "unsent 2"),
            (Line::Command(&payload(Some(40))), "command 6f6e seq 3 age 40"),
            (Line::Command(&payload(None)), "command 6f6e seq 3 age -"),
            (Line::Refused(3, Some(9)), "refused seq 3 age 9"),
            (Line::Stale(Epoch::new(9, 2), true), "stale 9.2 moved"),
            (Line::Stale(Epoch::new(9, 2), false), "stale 9.2 kept"),
            (Line::Reset, "reset"),
            (Line::KeyTaken(generation), "key taken 2"),
            (Line::Rotated, "rotated"),
            (Line::Closed, "closed"),
            (Line::Error(&"why"), "error why"),
            (Line::Stopped(&"why"), "stopped: why"),
        ] {
            assert_eq!(line.to_string(), text);
        }
    }
}
