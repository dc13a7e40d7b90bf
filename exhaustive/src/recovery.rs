//! P5: from any state, if the attacker stops, a session is up within three round trips. An honest network takes over: it
//! loses nothing, repeats nothing, and what was sent before is gone.

use moteseal::device::Outcome;
use moteseal::keys::DeviceKey;
use moteseal::wire::Header;

use crate::catalog::{Catalog, DatagramId, Payload, Way};
use crate::device::{self, DeviceState};
use crate::emit::Emit;
use crate::judge::PAYLOADS;
use crate::server::{self, ServerState};

/// P5.
pub const ROUND_TRIPS: u8 = 3;
/// Datagrams without an answer on the way: a Hello under a key that the server does not hold, a Data of a session that no
/// record names, with its repeat; more would be silence.
pub const UNANSWERED: u8 = 8;
/// The payloads that prove the session, one each way.
#[expect(clippy::cast_possible_truncation, reason = "there are eight")]
const PROBE: u8 = PAYLOADS as u8 - 1;

/// How a recovery went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Datagrams of the device that drew an answer, before the first Data that the server took.
    pub round_trips: u8,
    /// Datagrams of the device that drew none.
    pub unanswered: u8,
}

/// An honest network between two halves.
struct Honest {
    device: DeviceState,
    server: ServerState,
    catalog: Catalog,
    to_server: Vec<DatagramId>,
    to_device: Vec<DatagramId>,
    delivered: Vec<Payload>,
    told: Vec<(Payload, Outcome)>,
    heard: bool,
}

/// Lets both halves recover. Gives nothing where none is promised: the device is revoked, or refuses to start.
///
/// # Errors
/// What is broken, and what both halves were left in.
pub fn recover(
    device: &DeviceState,
    server: &ServerState,
    keys: &[DeviceKey],
) -> Result<Option<Recovery>, String> {
    let mut honest = Honest {
        device: device.clone(),
        server: server.clone(),
        // Of its own: what an honest network carries is no concern of the exploration.
        catalog: Catalog::with_keys(keys),
        to_server: Vec::new(),
        to_device: Vec::new(),
        delivered: Vec::new(),
        told: Vec::new(),
        heard: false,
    };
    honest.device.eager();
    honest.settle_pending()?;
    honest.to_device.clear();
    if honest.server.is_revoked() {
        return Ok(None);
    }
    if !honest.device.is_on() {
        honest.device(device::Input::Boot)?;
    }
    if honest.device.has_refused() {
        return Ok(None);
    }
    let recovery = honest.session()?;
    honest.both_ways()?;
    Ok(Some(recovery))
}

impl Honest {
    /// Rounds until the server has heard a Data of a session with counters.
    fn session(&mut self) -> Result<Recovery, String> {
        let mut recovery = Recovery::default();
        self.device(device::Input::Connect)?;
        for _ in 0..ROUND_TRIPS + UNANSWERED + 4 {
            let (is_data, answered, heard) = self.round()?;
            if is_data && heard {
                let Recovery { round_trips, unanswered } = recovery;
                if round_trips > ROUND_TRIPS || unanswered > UNANSWERED {
                    return Err(format!(
                        "P5: a session after {round_trips} round trips, {unanswered} unanswered"
                    ));
                }
                return Ok(recovery);
            }
            if answered {
                recovery.round_trips += 1;
            } else if is_data || !self.to_server.is_empty() {
                recovery.unanswered += 1;
            }
            if self.to_server.is_empty() {
                self.wait()?;
            }
        }
        Err(self.stuck("P5: no session"))
    }

    /// What the device has to send goes to the server, and the answers come back. Says whether a Data was among it, whether
    /// there was an answer, and whether the server took a Data of a session with counters.
    fn round(&mut self) -> Result<(bool, bool, bool), String> {
        self.heard = false;
        let sent = std::mem::take(&mut self.to_server);
        let is_data = sent.iter().any(|id| matches!(self.catalog.header(*id), Some(Header::Data(_))));
        for datagram in sent {
            self.server(server::Input::Receive(datagram))?;
            self.settle_pending()?;
        }
        let answered = self.answer()?;
        Ok((is_data, answered, self.heard))
    }

    /// One payload each way, and every payload of before has its word. One that the end of a session made *unknown*, as
    /// a rotation under way does, is followed by another.
    fn both_ways(&mut self) -> Result<(), String> {
        let (mut up, mut down) = (PROBE, PROBE);
        for _ in 0..16 {
            up += u8::from(self.is_told(Way::Up, up, Outcome::Unknown));
            down += u8::from(self.is_told(Way::Down, down, Outcome::Unknown));
            if !self.device.awaits(up) && !self.is_told(Way::Up, up, Outcome::Acknowledged) {
                self.device(device::Input::Send { index: up, confirm: true })?;
            } else {
                // Commands whose repeats ran out wait for signs of life (M-98).
                self.device(device::Input::Connect)?;
            }
            self.server(server::Input::Command { index: down, comes: true })?;
            self.settle_pending()?;
            self.answer()?;
            self.round()?;
            let arrived = |way, index| {
                self.is_told(way, index, Outcome::Acknowledged)
                    && self.delivered.contains(&Payload { way, index })
            };
            let quiet = (0..PROBE).all(|index| !self.device.awaits(index));
            if arrived(Way::Up, up) && arrived(Way::Down, down) && quiet && !self.server.has_rotation() {
                return Ok(());
            }
            if self.to_server.is_empty() {
                self.wait()?;
            }
        }
        Err(self.stuck("P5, M-102: a session, and no payloads each way, or no word for one"))
    }

    fn is_told(&self, way: Way, index: u8, outcome: Outcome) -> bool {
        self.told.contains(&(Payload { way, index }, outcome))
    }

    /// What the server has sent goes to the device.
    fn answer(&mut self) -> Result<bool, String> {
        let answers = std::mem::take(&mut self.to_device);
        let any = !answers.is_empty();
        for datagram in answers {
            self.device(device::Input::Receive(datagram))?;
        }
        Ok(any)
    }

    fn wait(&mut self) -> Result<(), String> {
        self.server(server::Input::Wait)?;
        self.answer()?;
        self.device(device::Input::Wait)
    }

    fn settle_pending(&mut self) -> Result<(), String> {
        for _ in 0..8 {
            if self.server.pending() == 0 {
                if !self.server.has_rotation_to_finish() {
                    return Ok(());
                }
                self.server(server::Input::FinishRotation)?;
            }
            let step =
                if self.server.is_written(0) { server::Input::Finish(0) } else { server::Input::Write(0) };
            self.server(step)?;
        }
        Err(self.stuck("P5: changes without end"))
    }

    fn device(&mut self, input: device::Input) -> Result<(), String> {
        let Some((device, emits)) = self.device.step(input, &mut self.catalog) else { return Ok(()) };
        self.device = device;
        self.note(&emits, Way::Up)
    }

    fn server(&mut self, input: server::Input) -> Result<(), String> {
        let Some((server, emits)) = self.server.step(input, &mut self.catalog) else { return Ok(()) };
        self.server = server;
        self.note(&emits, Way::Down)
    }

    fn note(&mut self, emits: &[Emit], way: Way) -> Result<(), String> {
        for emit in emits {
            match emit {
                Emit::Sent(datagram) if way == Way::Up => self.to_server.push(*datagram),
                Emit::Sent(datagram) => self.to_device.push(*datagram),
                Emit::Delivered(payload, _) => self.delivered.push(*payload),
                Emit::Told(payload, outcome) => self.told.push((*payload, *outcome)),
                Emit::Heard => self.heard = true,
                Emit::Broken(what) => return Err(what.clone()),
                _ => {}
            }
        }
        Ok(())
    }

    fn stuck(&self, what: &str) -> String {
        format!("{what}: {}; {}", self.device.describe(), self.server.describe())
    }
}
