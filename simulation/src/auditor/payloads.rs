//! Payloads by their names, from sealing to delivery to the one word that is told of each. SPEC sections 9.1 and 9.4.

use moteseal::device::{Millis, Outcome};

use super::crypto::DeviceId;
use super::session::{Sealing, Session};
use super::{Auditor, Way};
use crate::digest::digest;

/// A set of small numbers.
#[derive(Debug, Default)]
pub struct Bits(Vec<u64>);

impl Bits {
    /// Puts a number in; says whether it is new.
    pub fn insert(&mut self, number: u64) -> bool {
        let (place, bit) = (usize::try_from(number / 64).unwrap(), number % 64);
        if place >= self.0.len() {
            self.0.resize((place + 1).next_power_of_two(), 0);
        }
        let is_new = self.0[place] >> bit & 1 == 0;
        self.0[place] |= 1 << bit;
        is_new
    }

    pub fn contains(&self, number: u64) -> bool {
        let place = usize::try_from(number / 64).unwrap();
        self.0.get(place).is_some_and(|bits| bits >> (number % 64) & 1 == 1)
    }
}

impl Auditor {
    /// The store made a Hello durable (P4, P6): never twice, whatever is restored.
    pub fn made_durable(&mut self, device: usize, epoch: u64) {
        let owner = &mut self.owners[device];
        assert!(owner.durable.insert(epoch), "P4: a second durable write for one Hello");
        owner.newest = owner.newest.max(epoch);
    }

    /// The boot count of the newest Hello that any store has ever held of a device.
    pub fn newest_boot(&self, device: usize) -> u32 {
        u32::try_from(self.owners[device].newest >> 16).unwrap()
    }

    /// A session that was confirmed beside another gateway's was written down: once (M-93).
    pub fn made_confirmed(&mut self, device: usize, epoch: u64) {
        assert!(self.owners[device].confirmed.insert(epoch), "M-93: one session written down twice");
    }

    /// A gateway's application gets a payload.
    pub fn delivered_up(&mut self, id: DeviceId, epoch: u64, number: Option<u16>, payload: &[u8]) {
        let device = self.index(id);
        let owner = &mut self.owners[device];
        let stolen = owner.stolen;
        if let Some(number) = number {
            let sealing = find(&mut owner.sessions, Way::Up, epoch, number, payload);
            deliver(sealing, payload, stolen);
        } else {
            let sealed = owner.early.get(&epoch).is_some_and(|sealed| sealed.contains(&digest(payload)));
            assert!(sealed || stolen, "P1: the device sent nothing of this name");
            assert!(owner.early_delivered.insert(epoch), "P2: one name delivered twice");
        }
        assert!(self.delivered_up.insert(up_id(payload).into()) || stolen, "P2: delivered twice");
    }

    /// A device's application gets a payload.
    pub fn delivered_down(&mut self, device: usize, epoch: u64, number: u16, payload: &[u8]) -> Down {
        let owner = &mut self.owners[device];
        deliver(find(&mut owner.sessions, Way::Down, epoch, number, payload), payload, owner.stolen);
        let down = Down::read(payload);
        let is_first = self.delivered_down.insert(down.id);
        assert!(down.idempotent || is_first || owner.stolen, "P2: a command ran twice");
        down
    }

    /// A device refused a command for its age.
    pub fn refused(&mut self, device: usize, epoch: u64, number: u16) {
        let owner = &mut self.owners[device];
        let mut sessions = owner.sessions.iter_mut().rev().filter(|session| session.epoch == epoch);
        let sealing = sessions.find_map(|session| session.sealing_mut(Way::Down, number));
        let Some(sealing) = sealing else {
            assert!(owner.stolen, "P1: the gateway sent nothing of this name");
            return;
        };
        assert!(!std::mem::replace(&mut sealing.delivered, true), "P2: refused twice");
        let command = sealing.command;
        self.delivered_down.insert(command);
    }

    /// When the number was first sent that the block in this command names (M-111).
    pub fn block_sent_at(&self, device: usize, epoch: u64, number: u16) -> Option<Millis> {
        let of_epoch = self.owners[device].sessions.iter().rev().filter(|session| session.epoch == epoch);
        let mut sent = of_epoch.map(|session| {
            let named = session.sealing(Way::Down, number)?.block?;
            Some(session.sealing(Way::Up, named)?.at)
        });
        sent.find_map(|at| at)
    }

    /// A device's application learns what became of a payload.
    pub fn outcome(&self, id: u32, outcome: Outcome) {
        match outcome {
            Outcome::Acknowledged => {
                let delivered = self.delivered_up.contains(id.into());
                assert!(delivered, "M-102: acknowledged, and not delivered");
            }
            Outcome::Unknown => {
                assert!(self.sealed_up.contains(id.into()), "M-102: unknown, and never sealed");
            }
            Outcome::Unsent => self.never_sealed(id),
        }
    }

    /// A payload that was not taken, or was unsent.
    pub fn never_sealed(&self, id: u32) {
        assert!(!self.sealed_up.contains(id.into()), "M-102: not taken, or unsent, and sealed all the same");
    }

    /// The last number that a device has sent in its latest session.
    pub fn last_number_of(&self, device: usize) -> usize {
        self.owners[device].sessions.iter().max_by_key(|session| session.epoch).unwrap().next(Way::Up) - 1
    }

    /// By how many numbers a gateway has gone past the one that carries this command, in the session of this epoch.
    pub fn numbers_since(&self, device: usize, epoch: u64, command: u64) -> Option<usize> {
        let mut sessions = self.owners[device].sessions.iter().rev();
        let session = sessions.find(|session| session.epoch == epoch)?;
        let next = session.next(Way::Down);
        (0..next).rev().find_map(|number| {
            let sealing = session.sealing(Way::Down, u16::try_from(number).unwrap())?;
            (sealing.command == command).then_some(next - number)
        })
    }

    /// Whether a command reached its device.
    pub fn has_reached(&self, command: u64) -> bool {
        self.delivered_down.contains(command)
    }
}

fn deliver(sealing: Option<&mut Sealing>, payload: &[u8], stolen: bool) {
    let Some(sealing) = sealing else {
        assert!(stolen, "P1: the peer sent nothing of this name");
        return;
    };
    assert!(sealing.payload == digest(payload) || stolen, "P1: the peer sent something else");
    assert!(!std::mem::replace(&mut sealing.delivered, true) || stolen, "P2: one name delivered twice");
}

/// The sealing of this name. Where two sessions have one epoch, as after a rollback, the payload tells which.
fn find<'s>(
    sessions: &'s mut [Session],
    way: Way,
    epoch: u64,
    number: u16,
    payload: &[u8],
) -> Option<&'s mut Sealing> {
    let of_epoch = || (0..sessions.len()).rev().filter(|at| sessions[*at].epoch == epoch);
    let has = |at: &usize| sessions[*at].sealing(way, number).is_some();
    let fits = |at: &usize| {
        sessions[*at].sealing(way, number).is_some_and(|sealing| sealing.payload == digest(payload))
    };
    let at = of_epoch().find(fits).or_else(|| of_epoch().find(has))?;
    sessions[at].sealing_mut(way, number)
}

/// What a payload to a device says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Down {
    pub id: u64,
    pub idempotent: bool,
}

impl Down {
    pub fn write(self, padding: &[u8]) -> Vec<u8> {
        let kind = if self.idempotent { b'I' } else { b'D' };
        [&[kind][..], &self.id.to_be_bytes(), padding].concat()
    }

    pub fn read(payload: &[u8]) -> Self {
        let id = payload.get(1..9).map_or(0, |id| u64::from_be_bytes(id.try_into().unwrap()));
        Self { id, idempotent: payload.first() == Some(&b'I') }
    }
}

/// A payload to a gateway.
pub fn up_payload(id: u32, padding: &[u8]) -> Vec<u8> {
    [&id.to_be_bytes(), padding].concat()
}

/// Which payload to a gateway it is.
pub fn up_id(payload: &[u8]) -> u32 {
    payload.first_chunk().map_or(0, |id| u32::from_be_bytes(*id))
}
