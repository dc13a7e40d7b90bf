//! A device, its server, and the attacker between them: every datagram passes through the test's hands. Both seal through
//! a cipher that panics where one key and nonce meet two messages (P3).

use moteseal::device::{Config, Confirm, Device};
use moteseal::error::ReceiveError;
use moteseal::number::Generation;

use crate::board::{Board, ID, N, device_key, rotation_key};
use crate::support::{self, Address, Outcome, Recording, World};

pub type Mote = Device<&'static mut Board, N, Recording>;

/// Where the device is, and where it is not.
pub const HERE: Address = 1;
pub const VICTIM: Address = 2;

pub struct Scene {
    pub world: World,
    pub mote: Mote,
    /// Names the device where the server is asked about it.
    pub twin: support::Device,
    /// What the server's application got, in order.
    pub delivered: Vec<Vec<u8>>,
    /// What the device's application got, in order.
    pub ran: Vec<Vec<u8>>,
}

/// What the server sent, and where to.
pub type Sent = (Vec<u8>, Address);

impl Scene {
    pub fn new() -> Self {
        let mut twin = support::Device::new(1);
        (twin.id, twin.keys) = (ID, vec![(Generation::FIRST, device_key(1))]);
        twin.rotation_key = rotation_key();
        let world = World::new(&[&twin]);
        // Boards live as long as the test: what survives a power cut is handed on.
        let board = Box::leak(Box::new(Board::new()));
        Self { world, mote: boot(board), twin, delivered: Vec::new(), ran: Vec::new() }
    }

    /// A session in service, and nothing under way.
    pub fn connected() -> Self {
        let mut scene = Self::new();
        scene.mote.connect(scene.world.now);
        scene.calm();
        assert!(scene.mote.session().is_some());
        scene
    }

    /// The device's application sends; nothing comes out if the payload waits.
    pub fn say(&mut self, payload: &[u8], confirm: Confirm) -> Option<Vec<u8>> {
        let mut out = [0; N];
        let sent = self.mote.send(self.world.now, payload, confirm, &mut out).unwrap();
        sent.datagram.map(<[u8]>::to_vec)
    }

    /// What the device has due now.
    pub fn due(&mut self) -> Vec<Vec<u8>> {
        let (mut out, mut due) = ([0; N], Vec::new());
        while let Some(datagram) = self.mote.poll(self.world.now, &mut out).unwrap() {
            due.push(datagram.to_vec());
        }
        due
    }

    /// The one datagram that the device has due when it has waited long enough.
    pub fn repeat(&mut self) -> Vec<u8> {
        self.world.now = self.world.now.max(self.mote.deadline().unwrap());
        let [repeat] = <[_; 1]>::try_from(self.due()).unwrap();
        repeat
    }

    /// A datagram reaches the server. Gives what it sends because of it.
    pub fn server_gets(&mut self, from: Address, datagram: &[u8]) -> Vec<Sent> {
        let mut sent = match self.world.deliver(from, datagram) {
            Outcome::Rejected(_) => Vec::new(),
            Outcome::Answered(_, answer, to) => vec![(answer, to)],
            Outcome::Fresh(fresh) => {
                self.delivered.extend(fresh.payload);
                fresh.welcome.into_iter().zip(fresh.to).collect()
            }
            Outcome::Data(data) => {
                self.delivered.extend(data.payload);
                data.answer.into_iter().collect()
            }
        };
        sent.extend(self.world.poll(&self.twin));
        sent
    }

    /// A datagram reaches the device.
    pub fn device_gets(&mut self, datagram: &[u8]) -> Result<(), ReceiveError> {
        let mut datagram = datagram.to_vec();
        let received = self.mote.receive(self.world.now, &mut datagram)?;
        self.ran.extend(received.payload.map(|payload| payload.bytes.to_vec()));
        Ok(())
    }

    /// The attacker sleeps: everything arrives until nothing more is due.
    pub fn calm(&mut self) {
        let mut due = self.due();
        while !due.is_empty() {
            for datagram in due {
                self.carry(&datagram);
            }
            due = self.due();
        }
    }

    /// One datagram of the device arrives, and so does what the server sends because of it.
    pub fn carry(&mut self, datagram: &[u8]) {
        for (answer, _) in self.server_gets(HERE, datagram) {
            let _ = self.device_gets(&answer);
        }
    }

    /// One reading a minute, of which the device wants no outcome; the network is calm.
    pub fn readings(&mut self, readings: &[&[u8]]) {
        for reading in readings {
            if let Some(datagram) = self.say(reading, Confirm::No) {
                self.carry(&datagram);
            }
            let end = self.world.now + 60_000;
            while self.mote.deadline().is_some_and(|deadline| deadline <= end) {
                self.world.now = self.world.now.max(self.mote.deadline().unwrap());
                self.calm();
            }
            self.world.now = end;
        }
    }

    /// How often the server's application got this payload.
    pub fn times(&self, payload: &[u8]) -> usize {
        self.delivered.iter().filter(|delivered| *delivered == payload).count()
    }

    /// The device loses its power, and boots again.
    pub fn power_cut(self) -> Self {
        let mote = boot(self.mote.into_hardware());
        Self { mote, ..self }
    }
}

fn boot(board: &'static mut Board) -> Mote {
    Device::boot(board, Config::default()).unwrap()
}

/// Whether a datagram is a Hello.
pub fn is_hello(datagram: &[u8]) -> bool {
    datagram[0] & 0b0011_0000 == 0
}
