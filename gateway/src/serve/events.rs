//! What a gateway tells: one JSON object a line. Rejected datagrams are counted and told at most once a second
//! for each reason, so that a flood of them is no flood of lines. No secret is ever in an event.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use moteseal::delivery::Millis;
use moteseal::number::{DeviceId, Epoch};
use serde::{Serialize, Serializer};

/// What is told, for `--help`. The tests hold every event to it.
pub const HELP: &str = "\
Events: one JSON object a line on stdout. Each has \"event\" (its name) and \"at\" (milliseconds since the Unix
epoch). Device ids and payloads are hexadecimal digits, an epoch is \"boot.count\", a command is a number.
  listening (addr, devices): the gateway has started
  hello (device, epoch, from): a fresh Hello is durable, and answered with a Welcome if it is the newest
  early (device, epoch, payload): the payload of that Hello; device and epoch name it
  session (device, epoch): the device has taken the session up; the one before has ended
  data (device, epoch, seq, payload): a payload; device, epoch and seq name it
  malformed (device, epoch, seq): the Data that confirmed a session was authentic and made no sense; nothing of it
      was delivered. Later ones are counted: rejected, reason malformed
  queued (device, command): a command is in the durable queue
  sent (device, command, epoch): it was sent in that session, and is repeated until it is acknowledged
  acknowledged (device, command): the device has recorded it
  unknown (device, command, requeued): its session ended without a word, or went so far past it that the device
      takes no copy any more; it ran once or not at all. One that was sent with --idempotent is in the queue again,
      unless it has expired
  expired (device, command): its time passed before it was sent
  refused (device, command, reason): a request, or a command of a device that was revoked; not given is null
  floor (device, to): a stale Hello; the device was told how far its epochs have come. At most 20 lines a second:
      anybody can replay one; more are told as rejected, with the reason \"floor\"
  reset (device, to): the device has a session from before a restart; it was told to open a new one
  moved (device, from, excused): a Floor moved the device's boot counter, which was at `from`. Excused: a restore
      caused it; otherwise flash was erased or rolled back, or there is a clone
  closed (device): the device has closed its session
  jump (device, epoch): the boot counter is further on than a device boots
  revoked (device), quarantined (device), readmitted (device): its status from now on
  rotation_begun (device, generation), rotation_finished (device, generation): the old key is erased at the end
  device (device, status, generation, rotating, epoch, session, queued, clones): an answer to `devices`
  backup (path): the copy is complete
  rejected (reason, count, device): datagrams dropped since the last such line, at most one line a second and
      reason; the device that all of them named, which they need not be from, or null
  storage_error (error): nothing can be written, so fresh Hellos are not answered; tried again all the time
  storage_recovered: writing works again, and what waited was written
  stopped: the last line
A payload is told once: after it is durable or verified for the first time, and before it is acknowledged. The
outcome of a command is told before its removal from the queue is durable: after a crash in between it is told
once more, as unknown, and a command sent with --idempotent goes to its device again.

Requests: one line each on stdin, answered by an event; `moteseal send` and its like do the same from elsewhere.
  send ID HEX [--idempotent] [--expires S]
  revoke ID | quarantine ID | readmit ID | rotate ID [ROTATION KEY] | devices | backup PATH";

/// How often one reason of rejects is told, in milliseconds.
const REJECTS_EVERY_MS: Millis = 1_000;

/// How many Floors are told in that time.
const FLOORS_TOLD: u32 = 20;

/// Everything that is told, as [`HELP`] says.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event<'e> {
    Listening { addr: SocketAddr, devices: usize },
    Hello { device: Id, epoch: Text<Epoch>, from: SocketAddr },
    Early { device: Id, epoch: Text<Epoch>, payload: Hex<'e> },
    Session { device: Id, epoch: Text<Epoch> },
    Data { device: Id, epoch: Text<Epoch>, seq: u16, payload: Hex<'e> },
    Malformed { device: Id, epoch: Text<Epoch>, seq: u16 },
    Queued { device: Id, command: u64 },
    Sent { device: Id, command: u64, epoch: Text<Epoch> },
    Acknowledged { device: Id, command: u64 },
    Unknown { device: Id, command: u64, requeued: bool },
    Expired { device: Id, command: u64 },
    Refused { device: Option<Id>, command: Option<u64>, reason: &'e str },
    Floor { device: Id, to: SocketAddr },
    Reset { device: Id, to: SocketAddr },
    Moved { device: Id, from: u32, excused: bool },
    Closed { device: Id },
    Jump { device: Id, epoch: Text<Epoch> },
    Revoked { device: Id },
    Quarantined { device: Id },
    Readmitted { device: Id },
    RotationBegun { device: Id, generation: u8 },
    RotationFinished { device: Id, generation: u8 },
    Device(DeviceState),
    Backup { path: &'e str },
    Rejected { reason: &'e str, count: u64, device: Option<Id> },
    StorageError { error: &'e str },
    StorageRecovered,
    Stopped,
}

/// How a device stands.
#[derive(Debug, Serialize)]
pub struct DeviceState {
    pub device: Id,
    pub status: &'static str,
    pub generation: u8,
    pub rotating: bool,
    /// The newest epoch that was accepted.
    pub epoch: Text<Epoch>,
    /// Whether the device has a session with its counters.
    pub session: bool,
    /// Commands that wait.
    pub queued: usize,
    /// Jumps of its boot counter that nothing on the server's side caused.
    pub clones: u32,
}

/// Something by its text.
#[derive(Clone, Copy, Debug)]
pub struct Text<T>(pub T);

/// A device id.
pub type Id = Text<DeviceId>;

impl<T: Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
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

/// Milliseconds since the Unix epoch, by the wall clock.
pub fn wall_clock() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis::try_from(since.as_millis()).unwrap_or(Millis::MAX)
}

/// One event as a line, without its end.
pub fn line(event: &Event<'_>) -> String {
    #[derive(Serialize)]
    struct Line<'e> {
        #[serde(flatten)]
        event: &'e Event<'e>,
        at: Millis,
    }
    // Strings, numbers and maps with names as keys: nothing that JSON does not have.
    serde_json::to_string(&Line { event, at: wall_clock() }).unwrap_or_default()
}

/// Where events go, and the rejects that are not told yet.
pub struct Events<W> {
    out: W,
    rejects: BTreeMap<&'static str, Rejects>,
    floors: Floors,
}

/// How many Floors were told since when.
#[derive(Debug, Default)]
struct Floors {
    since: Millis,
    told: u32,
}

#[derive(Debug, Default)]
struct Rejects {
    count: u64,
    /// The device that all of them named.
    device: Option<DeviceId>,
    told: Option<Millis>,
}

impl<W: Write> Events<W> {
    pub fn new(out: W) -> Self {
        Self { out, rejects: BTreeMap::new(), floors: Floors::default() }
    }

    /// Tells an event, now.
    pub fn tell(&mut self, event: &Event<'_>) -> io::Result<()> {
        self.tell_line(&line(event))
    }

    /// Tells a line that is an event already.
    pub fn tell_line(&mut self, line: &str) -> io::Result<()> {
        // In one write, so that a killed process leaves whole lines wherever a pipe takes them whole.
        self.out.write_all(format!("{line}\n").as_bytes())?;
        self.out.flush()
    }

    /// Counts a reject.
    pub fn reject(&mut self, now: Millis, reason: &'static str, device: Option<DeviceId>) -> io::Result<()> {
        let rejects = self.rejects.entry(reason).or_default();
        rejects.device = if rejects.count == 0 || rejects.device == device { device } else { None };
        rejects.count += 1;
        self.tell_rejects(now)
    }

    /// Tells of a Floor, or counts it where there are many: a recorded stale Hello brings one each time.
    pub fn floor(&mut self, now: Millis, device: DeviceId, to: SocketAddr) -> io::Result<()> {
        if now >= self.floors.since + REJECTS_EVERY_MS {
            self.floors = Floors { since: now, told: 0 };
        }
        if self.floors.told >= FLOORS_TOLD {
            return self.reject(now, "floor", Some(device));
        }
        self.floors.told += 1;
        self.tell(&Event::Floor { device: Text(device), to })
    }

    /// Tells the counts that are due.
    pub fn tell_rejects(&mut self, now: Millis) -> io::Result<()> {
        let is_due = |told: Option<Millis>| told.is_none_or(|told| now >= told + REJECTS_EVERY_MS);
        self.tell_rejects_if(now, is_due)
    }

    /// Tells all counts.
    pub fn tell_all_rejects(&mut self, now: Millis) -> io::Result<()> {
        self.tell_rejects_if(now, |_| true)
    }

    fn tell_rejects_if(&mut self, now: Millis, is_due: impl Fn(Option<Millis>) -> bool) -> io::Result<()> {
        let mut lines = Vec::new();
        for (reason, rejects) in &mut self.rejects {
            if rejects.count > 0 && is_due(rejects.told) {
                let (count, device) = (std::mem::take(&mut rejects.count), rejects.device.map(Text));
                rejects.told = Some(now);
                lines.push(line(&Event::Rejected { reason, count, device }));
            }
        }
        lines.iter().try_for_each(|line| self.tell_line(line))
    }

    /// When the next count is due.
    pub fn deadline(&self) -> Option<Millis> {
        let waiting = self.rejects.values().filter(|rejects| rejects.count > 0);
        waiting.map(|rejects| rejects.told.map_or(0, |told| told + REJECTS_EVERY_MS)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_object_with_its_name_first() {
        let device = Text(DeviceId::new([0xA5; 8]));
        let event = Event::Data { device, epoch: Text(Epoch::new(7, 1)), seq: 3, payload: Hex(&[1, 0xFF]) };
        let line = line(&event);
        assert!(line.starts_with(
            r#"{"event":"data","device":"a5a5a5a5a5a5a5a5","epoch":"7.1","seq":3,"payload":"01ff","at":"#
        ));
        assert!(super::line(&Event::Stopped).starts_with(r#"{"event":"stopped","at":"#));
    }

    #[test]
    fn a_flood_of_floors_is_twenty_lines_a_second_and_a_count() {
        let mut events = Events::new(Vec::new());
        let (device, to) = (DeviceId::new([1; 8]), SocketAddr::from(([127, 0, 0, 1], 9)));
        for now in 5_000..8_000 {
            events.floor(now, device, to).unwrap();
        }
        events.tell_all_rejects(8_000).unwrap();
        let lines = String::from_utf8(events.out).unwrap();
        assert_eq!(lines.matches(r#""event":"floor""#).count(), 60);
        let counted: u64 = lines
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["count"].as_u64())
            .sum();
        assert_eq!(counted, 3_000 - 60);
        assert!(lines.lines().count() < 66);
    }

    #[test]
    fn a_flood_of_rejects_is_one_line_a_second_and_reason() {
        let mut events = Events::new(Vec::new());
        let one = DeviceId::new([1; 8]);
        for now in 0..10_000 {
            events.reject(now, "version", None).unwrap();
            events
                .reject(now, "inauthentic", Some(if now == 5_500 { DeviceId::new([2; 8]) } else { one }))
                .unwrap();
        }
        assert_eq!(events.deadline(), Some(10_000));
        events.tell_all_rejects(10_000).unwrap();
        let text = String::from_utf8(events.out).unwrap();
        let of = |reason: &str| {
            let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
            lines.filter(|line| line["reason"] == reason).collect::<Vec<_>>()
        };
        for reason in ["version", "inauthentic"] {
            assert_eq!(of(reason).len(), 11, "{text}");
            assert_eq!(of(reason).iter().map(|line| line["count"].as_u64().unwrap()).sum::<u64>(), 10_000);
        }
        assert_eq!(of("inauthentic").iter().filter(|line| line["device"].is_null()).count(), 1);
    }
}
