//! The main loop: telemetry every so often, commands as they come, and whatever the protocol has due. Knows the device
//! half of `moteseal` and a [`Board`]; no register, no address.

use core::fmt::Write as _;

use moteseal::boot_counter::{BootCounter as _, Stored};
use moteseal::device::{Config, Confirm, Device, Event, Hardware, Millis, OldKey, Payload, Settled};
use moteseal::error::{BootError, PollError, ReceiveError, SendError, StorageError};
use moteseal::wire::HELLO_OVERHEAD;

use crate::options::parse_period;
use crate::report::Line;

/// The longest datagram that is sent, in bytes.
const DATAGRAM_LEN: usize = 128;
/// The longest datagram that is taken, in bytes: what one Ethernet frame carries.
const MAX_RECEIVED_LEN: usize = 1472;
/// The longest telemetry in bytes: two numbers and a temperature.
const TELEMETRY_LEN: usize = 32;
const _: () = assert!(TELEMETRY_LEN + HELLO_OVERHEAD <= DATAGRAM_LEN);
/// The shortest wait, so that a device whose hardware fails does not spin.
const MIN_WAIT_MS: Millis = 5;

/// What the device needs of its board beside flash and randomness.
pub trait Board {
    /// The time in milliseconds, by a clock that neither runs backwards nor stands still.
    fn now(&mut self) -> Millis;

    /// Sends a datagram to the server. One that the network does not take is lost, like any other.
    fn send(&mut self, datagram: &[u8]);

    /// Waits for a datagram of the server's until a time: its length in bytes, at the front of `buffer`.
    fn receive(&mut self, until: Millis, buffer: &mut [u8]) -> Option<usize>;

    /// The temperature in tenths of a degree Celsius.
    fn temperature(&mut self) -> i16;

    /// Tells a line.
    fn tell(&mut self, line: &Line<'_>);
}

/// A device that runs.
pub struct Mote<H, B> {
    device: Device<H, DATAGRAM_LEN>,
    board: B,
    boot: u32,
    serial: u32,
    every_ms: u32,
    next: Millis,
    /// So that an error that lasts is told once.
    fault: Option<PollError>,
    out: [u8; DATAGRAM_LEN],
}

impl<H: Hardware, B: Board> Mote<H, B> {
    /// Starts the device: advances its boot counter, and sends nothing yet.
    ///
    /// # Errors
    /// A [`BootError`]: then this device must not send anything.
    pub fn boot(hardware: H, mut board: B, every_ms: u32) -> Result<Self, BootError> {
        let mut device = Device::boot(hardware, Config::default())?;
        let Stored::Intact(boot) = device.hardware().counter().load()? else {
            return Err(StorageError::Verify.into());
        };
        board.tell(&Line::Device(device.device_id(), boot));
        let next = board.now();
        Ok(Self { device, board, boot, serial: 0, every_ms, next, fault: None, out: [0; DATAGRAM_LEN] })
    }

    /// Runs until a command closes the session.
    pub fn run(mut self) {
        let mut buffer = [0; MAX_RECEIVED_LEN];
        loop {
            self.tell_temperature();
            self.poll();
            let now = self.board.now();
            let due = self.device.deadline().map_or(self.next, |deadline| deadline.min(self.next));
            let Some(len) = self.board.receive(due.max(now + MIN_WAIT_MS), &mut buffer) else { continue };
            if self.receive(buffer.get_mut(..len).unwrap_or_default()) == Go::Close {
                // The command is acknowledged first.
                self.poll();
                return self.close();
            }
        }
    }

    /// Telemetry, if it is time: `BOOT.N TEMPERATURE`.
    fn tell_temperature(&mut self) {
        let now = self.board.now();
        if now < self.next {
            return;
        }
        self.next = now + Millis::from(self.every_ms);
        let tenths = self.board.temperature();
        let mut text = heapless::String::<TELEMETRY_LEN>::new();
        let sign = if tenths < 0 { "-" } else { "" };
        let (degrees, tenth) = (tenths.unsigned_abs() / 10, tenths.unsigned_abs() % 10);
        let (boot, serial) = (self.boot, self.serial + 1);
        // It fits, whatever the numbers are.
        let _ = write!(text, "{boot}.{serial} {sign}{degrees}.{tenth}");
        // While the outcome of one payload is awaited, the next one goes out without asking for one.
        let sent = match self.send(now, text.as_bytes(), Confirm::Yes) {
            Err(SendError::Busy) => self.send(now, text.as_bytes(), Confirm::No),
            sent => sent,
        };
        match sent {
            Ok(()) => self.serial = serial,
            // Without a session, one payload waits; this one's time has passed.
            Err(SendError::Busy) => {}
            Err(error) => self.board.tell(&Line::Error(&error)),
        }
    }

    fn send(&mut self, now: Millis, payload: &[u8], confirm: Confirm) -> Result<(), SendError> {
        let sent = self.device.send(now, payload, confirm, &mut self.out)?;
        self.board.tell(&Line::Sent(sent.ticket, payload));
        if let Some(datagram) = sent.datagram {
            self.board.send(datagram);
        }
        Ok(())
    }

    /// Sends all that is due.
    fn poll(&mut self) {
        loop {
            let now = self.board.now();
            match self.device.poll(now, &mut self.out) {
                Ok(Some(datagram)) => self.board.send(datagram),
                Ok(None) => return self.fault = None,
                Err(error) => {
                    if self.fault.replace(error) != Some(error) {
                        self.board.tell(&Line::Error(&error));
                    }
                    return;
                }
            }
        }
    }

    fn receive(&mut self, datagram: &mut [u8]) -> Go {
        let now = self.board.now();
        let received = match self.device.receive(now, datagram) {
            Ok(received) => received,
            Err(ReceiveError::InvalidConnectionId(invalid)) => {
                self.settle(invalid.settled);
                return Go::On;
            }
            // What was received is authentic, and this device's own hardware fails.
            Err(
                error @ (ReceiveError::Storage(_) | ReceiveError::Counter(_) | ReceiveError::Identity(_)),
            ) => {
                self.board.tell(&Line::Error(&error));
                return Go::On;
            }
            // Anybody can send anything: nothing is told, nothing has changed.
            Err(_) => return Go::On,
        };
        if let Some(event) = received.event {
            self.tell_event(event);
        }
        self.settle(received.settled);
        received.payload.map_or(Go::On, |command| self.obey(&command))
    }

    /// Tells a command, and does what it says if it is one of the two that this device knows.
    fn obey(&mut self, command: &Payload<'_>) -> Go {
        self.board.tell(&Line::Command(command));
        match core::str::from_utf8(command.bytes).map(Command::parse) {
            Ok(Some(Command::Every(every_ms))) => {
                self.every_ms = every_ms;
                self.next = self.board.now() + Millis::from(every_ms);
                Go::On
            }
            Ok(Some(Command::Close)) => Go::Close,
            _ => Go::On,
        }
    }

    fn tell_event(&mut self, event: Event) {
        match event {
            Event::SessionOpened { epoch, old_key } => {
                self.board.tell(&Line::Session(epoch));
                match old_key {
                    OldKey::Untouched => {}
                    OldKey::Erased => self.board.tell(&Line::Rotated),
                    OldKey::Kept(error) => self.board.tell(&Line::Error(&error)),
                }
            }
            Event::Stale { floor, moved } => self.board.tell(&Line::Stale(floor, moved)),
            Event::SessionLost => self.board.tell(&Line::Reset),
            Event::KeyTaken(generation) => self.board.tell(&Line::KeyTaken(generation)),
            Event::CommandRefused { number, age_ms } => {
                self.board.tell(&Line::Refused(number.value(), age_ms));
            }
            // A control message of a later version, and whatever later versions of the crate notice.
            _ => {}
        }
    }

    fn settle(&mut self, settled: impl IntoIterator<Item = Settled>) {
        for settled in settled {
            self.board.tell(&Line::Settled(settled));
        }
    }

    fn close(mut self) {
        let now = self.board.now();
        match self.device.close(now, &mut self.out) {
            Ok(closed) => {
                if let Some(datagram) = closed.datagram {
                    self.board.send(datagram);
                }
                let settled = closed.settled;
                self.settle(settled);
                self.board.tell(&Line::Closed);
            }
            Err(error) => self.board.tell(&Line::Error(&error)),
        }
    }
}

/// Whether the device goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Go {
    On,
    Close,
}

/// A command that this device knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    /// `every MS`: the time from one telemetry to the next.
    Every(u32),
    /// `close`: ends the session, and switches off.
    Close,
}

impl Command {
    fn parse(text: &str) -> Option<Self> {
        match text.split_once(' ') {
            None if text == "close" => Some(Self::Close),
            Some(("every", period)) => parse_period(period).map(Self::Every),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_commands_are_known() {
        assert_eq!(Command::parse("every 250"), Some(Command::Every(250)));
        assert_eq!(Command::parse("close"), Some(Command::Close));
        for unknown in ["", "every", "every 0", "every -1", "every 250 ", "closed", "close now", "open"] {
            assert_eq!(Command::parse(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn the_longest_telemetry_fits() {
        let longest = format!("{}.{} -{}.{}", u32::MAX, u32::MAX, i16::MIN.unsigned_abs() / 10, 9);
        assert!(longest.len() <= TELEMETRY_LEN, "{}", longest.len());
    }
}
