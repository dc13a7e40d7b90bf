//! The network is the attacker's: what is sent arrives late, twice, changed, elsewhere, or not at all, and comes back
//! whenever he likes.

use std::collections::BTreeMap;

use moteseal::device::Millis;

use crate::coverage::Coverage;
use crate::random::Random;

pub type Address = u32;

/// Where the server listens.
pub const SERVER: Address = 0;
/// Addresses from here on belong to bystanders, whose traffic the attacker does not see. He forges them.
pub const BYSTANDERS: Address = 0x1_0000;

#[derive(Clone, Debug)]
pub struct Datagram {
    pub from: Address,
    pub to: Address,
    pub bytes: Vec<u8>,
}

#[derive(Debug)]
pub struct Network {
    random: Random,
    queue: BTreeMap<(Millis, u64), Datagram>,
    order: u64,
    /// Everything that was ever sent, and when.
    recorded: Vec<(Millis, Datagram)>,
    /// Losses in a thousand; the other faults follow from it.
    pub rate: u64,
    pub hostile: bool,
    /// No Hello arrives.
    pub no_hello: bool,
    /// Bytes from and to each bystander.
    bystanders: BTreeMap<Address, (usize, usize)>,
    pub carried: u64,
}

impl Network {
    pub const fn new(random: Random) -> Self {
        Self {
            random,
            queue: BTreeMap::new(),
            order: 0,
            recorded: Vec::new(),
            rate: 100,
            hostile: true,
            no_hello: false,
            bystanders: BTreeMap::new(),
            carried: 0,
        }
    }

    pub fn next(&self) -> Option<Millis> {
        self.queue.first_key_value().map(|((at, _), _)| *at)
    }

    pub fn take(&mut self, now: Millis) -> Option<Datagram> {
        let entry = self.queue.first_entry().filter(|entry| entry.key().0 <= now)?;
        let datagram = entry.remove();
        self.carried += 1;
        if datagram.from >= BYSTANDERS {
            self.bystanders.entry(datagram.from).or_default().0 += datagram.bytes.len();
        }
        Some(datagram)
    }

    /// The attacker stops: what he holds back is lost, and what is sent from now on arrives.
    pub fn calm_down(&mut self) {
        self.queue.clear();
        self.hostile = false;
    }

    /// Somebody sends.
    pub fn send(&mut self, now: Millis, datagram: Datagram, coverage: &mut Coverage) {
        if datagram.to >= BYSTANDERS {
            let (received, sent) = self.bystanders.entry(datagram.to).or_default();
            *sent += datagram.bytes.len();
            assert!(*sent <= 3 * *received, "P: {sent} bytes to a bystander whose address sent {received}");
            return;
        }
        if self.no_hello
            && datagram.bytes.len() > 36
            && matches!(datagram.bytes[0], 0x40 | 0x44 | 0x48 | 0x4C)
        {
            return;
        }
        self.recorded.push((now, datagram.clone()));
        if !self.hostile {
            self.carry(now + 40, datagram);
            return;
        }
        if self.random.chance(self.rate) {
            coverage.hit("network: lost");
            return;
        }
        if self.random.chance(self.rate) {
            coverage.hit("network: duplicated");
            let late = self.delay(now, coverage);
            self.carry(late, datagram.clone());
        }
        let datagram = self.tamper(datagram, coverage);
        let at = self.delay(now, coverage);
        self.carry(at, datagram);
    }

    /// The attacker acts on his own: replays, reflects, forges.
    pub fn attack(&mut self, now: Millis, devices: &[Address], coverage: &mut Coverage) {
        let at = now + self.random.below(50);
        if self.recorded.is_empty() || self.random.chance(100) {
            let to = if self.random.chance(500) { SERVER } else { self.random.pick(devices) };
            let from = if to == SERVER { self.random.pick(devices) } else { SERVER };
            let len = self.random.place(80);
            coverage.hit("attack: garbage");
            let bytes = self.random.bytes(len);
            self.carry(at, Datagram { from, to, bytes });
            return;
        }
        // As often from the last hundred datagrams as from all.
        let len = self.recorded.len();
        let newest = if self.random.chance(500) { len.min(100) } else { len };
        let (sent, mut datagram) = self.recorded[len - 1 - self.random.place(newest)].clone();
        coverage.hit("attack: replayed");
        if now - sent > 600_000 {
            coverage.hit("attack: replayed much later");
        }
        match self.random.below(8) {
            0 if datagram.to != SERVER => {
                coverage.hit("attack: replayed to another device");
                datagram.to = self.random.pick(devices);
            }
            1 => {
                coverage.hit("attack: reflected");
                (datagram.from, datagram.to) = (datagram.to, datagram.from);
            }
            2 => {
                coverage.hit("attack: garbage behind a true header");
                let kept = self.random.place(datagram.bytes.len().min(24)) + 1;
                datagram.bytes.truncate(kept);
                let len = self.random.place(50);
                datagram.bytes.extend(self.random.bytes(len));
            }
            3 if datagram.to == SERVER => {
                coverage.hit("network: source forged");
                datagram.from = self.forged(devices);
            }
            4 => datagram = self.tamper(datagram, coverage),
            _ => {}
        }
        self.carry(at, datagram);
    }

    /// A datagram that the attacker made himself.
    pub fn inject(&mut self, now: Millis, datagram: Datagram) {
        self.carry(now, datagram);
    }

    fn forged(&mut self, devices: &[Address]) -> Address {
        if self.random.chance(500) {
            BYSTANDERS + u32::try_from(self.random.below(4)).unwrap()
        } else {
            self.random.pick(devices)
        }
    }

    fn tamper(&mut self, mut datagram: Datagram, coverage: &mut Coverage) -> Datagram {
        if !self.random.chance(self.rate / 2) {
            return datagram;
        }
        let bytes = &mut datagram.bytes;
        match self.random.below(3) {
            0 => {
                coverage.hit("network: bits flipped");
                for _ in 0..=self.random.below(3) {
                    let at = self.random.place(bytes.len());
                    bytes[at] ^= 1 << self.random.below(8);
                }
            }
            1 => {
                coverage.hit("network: truncated");
                bytes.truncate(self.random.place(bytes.len()));
            }
            _ => {
                coverage.hit("network: extended");
                let len = self.random.place(20) + 1;
                bytes.extend(self.random.bytes(len));
            }
        }
        datagram
    }

    fn delay(&mut self, now: Millis, coverage: &mut Coverage) -> Millis {
        if self.random.chance(self.rate / 2) {
            coverage.hit("network: reordered by a long delay");
            return now + self.random.below(60_000);
        }
        now + 5 + self.random.below(200)
    }

    fn carry(&mut self, at: Millis, datagram: Datagram) {
        self.order += 1;
        self.queue.insert((at, self.order), datagram);
    }
}
