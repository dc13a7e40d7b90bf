//! Somebody whose address the attacker writes on what he has taken off the air. Until he answers, which he never does, a
//! session sends him at most three times what came from him and was new (M-70).

use moteseal::device::Millis;

use crate::digest::Map;
use crate::network::{Address, BYSTANDERS};
use crate::world::World;

/// A device and the epoch of its session.
type Session = (usize, u64);

/// Bytes from and to bystanders.
#[derive(Debug, Default)]
pub struct Bystanders {
    bytes: Map<(Address, Session), (usize, usize)>,
    /// How many addresses the attacker has used for a device as a whole.
    used: u32,
}

impl Bystanders {
    /// A Data that was new came from this address.
    pub fn heard(&mut self, from: Address, session: Session, len: usize) {
        if from >= BYSTANDERS {
            self.bytes.entry((from, session)).or_default().0 += len;
        }
    }

    /// A Data goes to this address.
    pub fn sent(&mut self, to: Address, session: Session, len: usize) {
        if to >= BYSTANDERS {
            let (heard, sent) = self.bytes.entry((to, session)).or_default();
            *sent += len;
            assert!(*sent <= 3 * *heard, "M-70: {sent} bytes to a bystander of whom {heard} were heard");
        }
    }
}

impl World {
    /// For a while the attacker takes whatever a device sends off the air and sends it on with a bystander's address,
    /// three times. Commands wait for that device.
    pub fn abduct(&mut self, device: usize) {
        self.coverage.hit("attack: a device speaks from a bystander's address");
        self.bystanders.used += 1;
        let address = BYSTANDERS + 4 + self.bystanders.used;
        self.motes[device].abducted = Some((address, self.now + self.random.pick(&[5_000, 60_000])));
        for _ in 0..3 {
            self.hand_over(device);
            self.order(device);
        }
    }

    /// Where a device seems to be, and how many copies come from there.
    pub fn source_of(&self, device: usize, now: Millis) -> (Address, usize) {
        let mote = &self.motes[device];
        let abducted = mote.abducted.filter(|(_, until)| now < *until);
        abducted.map_or((mote.address, 1), |(address, _)| (address, 3))
    }
}
