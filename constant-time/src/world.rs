//! What surrounds the two halves: a flash, a counter, generators, a server's table, and the network. Keys are secret from
//! the start.

use std::cell::RefCell;
use std::rc::Rc;

use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};
use moteseal::aead::Backend;
use moteseal::boot_counter::{BootCounter, Stored};
use moteseal::delivery::Timing;
use moteseal::device::{Config, Device, Hardware, Parts};
use moteseal::entropy::Entropy;
use moteseal::error::{EntropyError, StorageError};
use moteseal::identity::{FactoryImage, Identity};
use moteseal::key_slots::NorKeySlots;
use moteseal::keys::{DeviceKey, FleetKey, RotationKey, RotationRoot};
use moteseal::number::{DeviceId, Generation};
use moteseal::record::{GatewayId, Record};
use moteseal::server::{Answer, FixedTable, Index, Received, Server, Table as _};

use crate::judged::Judged;
use crate::memcheck::{hide, publish, secret};

/// The device.
pub const ID: DeviceId = DeviceId::new(*b"mote\x00\x00\x00\x01");
/// The only device of its server.
pub const INDEX: Index = Index(0);
/// Payloads up to this many bytes.
pub const LONGEST: usize = 256;

const PAGE: usize = 128;
const PAGE_LEN: u32 = 128;

/// A device, from the start of its life.
pub type Mote<A> = Device<Board, LONGEST, Judged<A>>;
/// A server of one device.
pub type Gateway<A> = Server<FixedTable<u8, 1, LONGEST, Judged<A>>, Counting>;
/// The hardware of a device.
pub type Board = Parts<Counter, NorKeySlots<Flash>, Counting>;

/// The key that the device starts with.
pub fn device_key() -> DeviceKey {
    DeviceKey::new(secret([0xD1; 32]))
}

/// The key that proves rotations.
pub fn rotation_key() -> RotationKey {
    RotationKey::new(secret([0x52; 32]))
}

/// The secrets of a fleet.
pub fn fleet() -> (FleetKey, RotationRoot) {
    (FleetKey::new(secret([0xF1; 32])), RotationRoot::new(secret([0xF2; 32])))
}

/// A payload that nobody may learn.
pub fn payload<const N: usize>() -> [u8; N] {
    secret([0xA5; N])
}

/// A datagram on its way: from here on everybody has it.
pub fn wire(datagram: &[u8]) -> Vec<u8> {
    publish(datagram);
    datagram.to_vec()
}

/// The datagram with another tag: one that differs in its first byte, in the middle, in its last byte, in every bit.
pub fn forgeries(datagram: &[u8]) -> [(&'static str, Vec<u8>); 4] {
    let at = datagram.len() - 16;
    let forged = |range: std::ops::Range<usize>, mask: u8| {
        let mut forged = datagram.to_vec();
        forged[at + range.start..at + range.end].iter_mut().for_each(|byte| *byte ^= mask);
        forged
    };
    [
        ("tag wrong at byte 0", forged(0..1, 1)),
        ("tag wrong at byte 7", forged(7..8, 0x80)),
        ("tag wrong at byte 15", forged(15..16, 1)),
        ("tag wrong in every bit", forged(0..16, 0xFF)),
    ]
}

/// Boots a device from the factory.
pub fn boot<A: Backend>(rng: Option<Counting>) -> Mote<A> {
    Device::boot(board(rng), Config::default()).expect("the image is good")
}

/// A board as the factory leaves it.
pub fn board(rng: Option<Counting>) -> Board {
    let mut flash = Flash::default();
    let image = FactoryImage::new(Identity { device_id: ID, rotation_key: rotation_key() }, device_key());
    for (offset, part) in image.parts(PAGE_LEN) {
        flash.write(offset, part.expose()).expect("it fits");
    }
    let keys = NorKeySlots::new(flash, 0).expect("it fits");
    Parts { counter: Counter(0), keys, rng }
}

/// Starts a server that knows the device.
pub fn serve<A: Backend>(record: Record) -> Gateway<A> {
    let mut table = FixedTable::new();
    table.insert(record).expect("there is room for one");
    Server::new(table, Counting(1), GatewayId(0), Timing::DEFAULT, 0).expect("the generator works")
}

/// The record of the device.
pub fn record() -> Record {
    Record::provisioned(ID, Generation::FIRST, device_key())
}

/// Hands a datagram to the server; what it answers. A store that writes at once stands behind it.
pub fn take<A: Backend>(gateway: &mut Gateway<A>, now: u64, mut datagram: Vec<u8>) -> Option<Answer> {
    match gateway.receive(now, 1, datagram.as_mut_slice()) {
        Received::Pending(held, change) => {
            let committed = gateway.commit(held, change.committed()).expect("there is one store");
            committed.welcome.map(|(answer, _)| answer)
        }
        Received::Data(data) => data.answer.map(|(answer, _)| answer),
        Received::Answered { answer, .. } => Some(answer),
        Received::Rejected { .. } => None,
    }
}

/// Everything that the device has to send now, to the server, and the answers back to the device.
pub fn settle<A: Backend>(device: &mut Mote<A>, gateway: &mut Gateway<A>, now: u64)
where
    Board: Hardware,
{
    let mut out = [0; LONGEST];
    while let Some(datagram) = device.poll(now, &mut out).expect("the hardware works") {
        let datagram = wire(datagram);
        if let Some(answer) = take(gateway, now, datagram) {
            let _ = device.receive(now, &mut wire(answer.as_bytes()));
        }
        while let Some(transmit) = gateway.poll(now, INDEX) {
            let mut datagram = wire(transmit.datagram);
            let _ = device.receive(now, &mut datagram);
        }
    }
}

/// Numbers that need not be random: they travel in clear.
#[derive(Clone, Copy, Debug)]
pub struct Counting(pub u8);

impl Entropy for Counting {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        for byte in bytes {
            self.0 = self.0.wrapping_mul(5).wrapping_add(7);
            *byte = self.0;
        }
        Ok(())
    }
}

/// A boot counter that holds no secret.
#[derive(Debug)]
pub struct Counter(pub u32);

impl BootCounter for Counter {
    fn load(&mut self) -> Result<Stored, StorageError> {
        Ok(Stored::Intact(self.0))
    }

    fn store(&mut self, boot: u32) -> Result<(), StorageError> {
        self.0 = boot;
        Ok(())
    }
}

/// Three erase pages for keys. It copies, and compares nothing.
#[derive(Clone, Debug)]
pub struct Flash(Rc<RefCell<[u8; 3 * PAGE]>>);

impl Default for Flash {
    fn default() -> Self {
        Self(Rc::new(RefCell::new([0xFF; 3 * PAGE])))
    }
}

impl ErrorType for Flash {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Flash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        let start = offset as usize;
        bytes.copy_from_slice(&self.0.borrow()[start..start + bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        3 * PAGE
    }
}

impl NorFlash for Flash {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = PAGE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        self.0.borrow_mut()[from as usize..to as usize].fill(0xFF);
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        let start = offset as usize;
        self.0.borrow_mut()[start..start + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
}

/// Makes a secret of a part of some bytes: the key and the check value of a part of an image.
pub fn hide_key(part: &mut [u8]) {
    hide(&part[24..64]);
}

/// The record of the device as the server has it.
pub fn record_of<A: Backend>(gateway: &Gateway<A>) -> Record {
    gateway.table().peer(INDEX).expect("it knows one device").record().clone()
}
