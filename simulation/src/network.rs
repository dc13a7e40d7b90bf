//! The network is the attacker's: what is sent arrives late, twice, changed, elsewhere, or not at all, and comes back
//! whenever he likes.

use moteseal::device::Millis;

use crate::agenda::Agenda;
use crate::archive::Archive;
use crate::auditor::{Kind, Origin};
use crate::coverage::Coverage;
use crate::random::Random;

/// Where somebody may be reached.
pub type Address = u32;

/// Addresses below this one are those of gateways, in their order.
pub const DEVICES: Address = 0x1000;
/// Addresses from here on belong to bystanders, whose traffic the attacker does not see. He forges them.
pub const BYSTANDERS: Address = 0x1000_0000;
/// How many addresses a device may move between.
pub const PLACES: u32 = 16;

/// Where a gateway listens.
pub fn gateway(site: usize) -> Address {
    u32::try_from(site).unwrap()
}

/// Which gateway listens there.
pub fn site_at(address: Address) -> Option<usize> {
    (address < DEVICES).then_some(address as usize)
}

/// Where a device may be reached.
pub fn device(index: usize, place: u32) -> Address {
    DEVICES + PLACES * u32::try_from(index).unwrap() + place
}

/// Whose address that is.
pub fn device_at(address: Address) -> Option<usize> {
    (DEVICES..BYSTANDERS).contains(&address).then(|| ((address - DEVICES) / PLACES) as usize)
}

/// A datagram on its way.
#[derive(Clone, Debug)]
pub struct Datagram {
    pub from: Address,
    pub to: Address,
    pub bytes: Vec<u8>,
    /// What it is, if it left one of the halves just so.
    pub origin: Option<Origin>,
}

/// The network.
#[derive(Debug)]
pub struct Network {
    random: Random,
    archive: Archive,
    /// Losses in a thousand; the other faults follow from it.
    pub rate: u64,
    /// Datagrams of the attacker's own for a thousand that are sent.
    pub attacks: u64,
    pub hostile: bool,
    /// No Hello arrives.
    pub no_hello: bool,
    gateways: usize,
    pub carried: u64,
}

impl Network {
    pub fn new(random: Random, gateways: usize) -> Self {
        Self {
            random,
            archive: Archive::default(),
            rate: 100,
            attacks: 100,
            hostile: true,
            no_hello: false,
            gateways,
            carried: 0,
        }
    }

    /// A datagram arrives.
    pub const fn landed(&mut self) {
        self.carried += 1;
    }

    /// What the attacker holds.
    pub const fn archive(&self) -> &Archive {
        &self.archive
    }

    /// Somebody sends.
    pub fn send(&mut self, now: Millis, datagram: Datagram, agenda: &mut Agenda, coverage: &mut Coverage) {
        if datagram.to >= BYSTANDERS {
            return;
        }
        if self.no_hello && matches!(datagram.origin.map(|origin| origin.kind), Some(Kind::Hello { .. })) {
            return;
        }
        self.archive.record(now, &datagram, &mut self.random);
        if !self.hostile {
            agenda.carry(now + 20 + self.random.below(30), datagram);
            return;
        }
        while self.random.chance(self.attacks) {
            self.attack(now, agenda, coverage);
        }
        if self.random.chance(self.rate) {
            coverage.hit("network: lost");
            return;
        }
        if self.random.chance(self.rate) {
            coverage.hit("network: duplicated");
            let late = self.delay(now, coverage);
            agenda.carry(late, datagram.clone());
        }
        let datagram = self.tamper(datagram, coverage);
        agenda.carry(self.delay(now, coverage), datagram);
    }

    /// A datagram that the attacker made himself.
    pub fn inject(&mut self, now: Millis, datagram: Datagram, agenda: &mut Agenda) {
        self.archive.record(now, &datagram, &mut self.random);
        agenda.carry(now, datagram);
    }

    /// The attacker acts on his own: replays, reflects, forges.
    fn attack(&mut self, now: Millis, agenda: &mut Agenda, coverage: &mut Coverage) {
        let at = now + self.random.below(50);
        let Some((sent, recorded)) = self.archive.pick(&mut self.random) else { return };
        let (sent, mut datagram) = (*sent, recorded.clone());
        if self.random.chance(100) {
            coverage.hit("attack: garbage");
            let len = self.random.place(80);
            datagram.bytes = self.random.bytes(len);
            datagram.origin = None;
            return agenda.carry(at, datagram);
        }
        coverage.hit("attack: replayed");
        if now - sent > 600_000 {
            coverage.hit("attack: replayed ten minutes later");
        }
        if now - sent > 86_400_000 {
            coverage.hit("attack: replayed a day later");
        }
        let is_for_gateway = site_at(datagram.to).is_some();
        match self.random.below(8) {
            0 if !is_for_gateway => {
                coverage.hit("attack: replayed to another device");
                datagram.to = self.other_device(datagram.to);
            }
            0 if self.gateways > 1 => {
                coverage.hit("attack: replayed to another gateway");
                let site = site_at(datagram.to).unwrap() + 1 + self.random.place(self.gateways - 1);
                datagram.to = gateway(site % self.gateways);
            }
            1 => {
                coverage.hit("attack: reflected");
                (datagram.from, datagram.to) = (datagram.to, datagram.from);
            }
            2 => {
                coverage.hit("attack: garbage behind a true header");
                let kept = self.random.place(datagram.bytes.len().min(24)) + 1;
                let len = self.random.place(50);
                let before = std::mem::take(&mut datagram.bytes);
                datagram.bytes.extend_from_slice(&before[..kept]);
                datagram.bytes.extend(self.random.bytes(len));
                datagram.origin = datagram.origin.filter(|_| datagram.bytes == before);
            }
            3 if is_for_gateway => {
                coverage.hit("network: source forged");
                datagram.from = if self.random.chance(500) {
                    BYSTANDERS + u32::try_from(self.random.below(4)).unwrap()
                } else {
                    self.other_device(datagram.from)
                };
            }
            4 => datagram = self.change(datagram, coverage),
            _ => {}
        }
        agenda.carry(at, datagram);
    }

    /// The address of some device that has been heard of.
    fn other_device(&mut self, address: Address) -> Address {
        let picked = self.archive.pick(&mut self.random);
        let other = picked.map(|(_, other)| if site_at(other.to).is_some() { other.from } else { other.to });
        other.filter(|other| site_at(*other).is_none()).unwrap_or(address)
    }

    fn tamper(&mut self, datagram: Datagram, coverage: &mut Coverage) -> Datagram {
        if self.random.chance(self.rate / 2) { self.change(datagram, coverage) } else { datagram }
    }

    fn change(&mut self, mut datagram: Datagram, coverage: &mut Coverage) -> Datagram {
        let before = datagram.bytes.clone();
        let bytes = &mut datagram.bytes;
        match self.random.below(3) {
            0 if !bytes.is_empty() => {
                coverage.hit("network: bits flipped");
                for _ in 0..=self.random.below(3) {
                    let at = self.random.place(bytes.len());
                    bytes[at] ^= 1 << self.random.below(8);
                }
            }
            1 if !bytes.is_empty() => {
                coverage.hit("network: truncated");
                bytes.truncate(self.random.place(bytes.len()));
            }
            _ => {
                coverage.hit("network: extended");
                let len = self.random.place(20) + 1;
                bytes.extend(self.random.bytes(len));
            }
        }
        datagram.origin = datagram.origin.filter(|_| datagram.bytes == before);
        datagram
    }

    fn delay(&mut self, now: Millis, coverage: &mut Coverage) -> Millis {
        if self.random.chance(self.rate / 2) {
            coverage.hit("network: reordered by a long delay");
            return now + self.random.below(60_000);
        }
        now + 5 + self.random.below(200)
    }
}
