//! Around the device: its flash, its factory, its generator and its server.

use core::mem::MaybeUninit;

use embedded_storage::nor_flash::NorFlash;
use moteseal::boot_counter::entry;
use moteseal::delivery::Timing;
use moteseal::entropy::Entropy;
use moteseal::error::EntropyError;
use moteseal::identity::{FactoryImage, Identity};
use moteseal::keys::{DeviceKey, RotationKey};
use moteseal::number::{DeviceId, Generation};
use moteseal::record::{GatewayId, Record};
use moteseal::server::{Answer, Change, FixedTable, Index, Received, RecordChange, Server};
use moteseal_cortex_m::nor::{Cells, Nor};

/// The device.
pub const ID: DeviceId = DeviceId::new(*b"\x02count01");
/// The only device of its server.
pub const INDEX: Index = Index(0);
/// When everything happens.
pub const NOW: u64 = 1_000;

/// Numbers that nobody predicts would be wasted here.
#[derive(Clone, Copy)]
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

/// The key that proves a rotation.
pub fn rotation_key() -> RotationKey {
    RotationKey::new([9; 32])
}

/// What the factory writes: the image in three pages, and the boot counter behind it.
pub fn provision<const PAGE: usize, const LEN: usize>(cells: &Cells<LEN>) {
    let mut flash = Nor::<PAGE, LEN>(cells);
    let identity = Identity { device_id: ID, rotation_key: rotation_key() };
    for (offset, part) in FactoryImage::new(identity, DeviceKey::new([3; 32])).parts(PAGE as u32) {
        flash.write(offset, part.expose()).expect("it fits");
    }
    flash.write(3 * PAGE as u32, &entry(0)).expect("it fits");
}

type Table = FixedTable<u8, 1, 64>;

/// The server, with a store that writes at once.
pub struct Gateway(pub Server<Table, Counting>);

impl Gateway {
    /// A server that knows the device, made in its place: where memory is short, one that is moved is too long.
    #[inline(never)]
    pub fn start(place: &mut MaybeUninit<Self>) -> &mut Self {
        let mut table = Table::new();
        let record = Record::provisioned(ID, Generation::FIRST, DeviceKey::new([3; 32]));
        table.insert(record).expect("there is room for one");
        let server = Server::new(table, Counting(1), GatewayId(0), Timing::DEFAULT, 0);
        place.write(Self(server.expect("the generator works")))
    }

    /// Takes a datagram: what it answers, and how long the payload was.
    #[inline(never)]
    pub fn take(&mut self, datagram: &mut [u8]) -> (Option<Answer>, usize) {
        match self.0.receive(NOW, 1, datagram) {
            Received::Pending(held, change) => {
                let committed = self.0.commit(held, change.committed()).expect("there is one store");
                (
                    committed.welcome.map(|(answer, _)| answer),
                    committed.payload.map_or(0, |p| p.as_bytes().len()),
                )
            }
            Received::Data(data) => {
                (data.answer.map(|(answer, _)| answer), data.payload.map_or(0, |p| p.as_bytes().len()))
            }
            Received::Answered { answer, .. } => (Some(answer), 0),
            Received::Rejected { .. } => panic!("the server rejects what the device made"),
        }
    }

    /// Begins a rotation, whose *rotate* is polled afterwards.
    #[inline(never)]
    pub fn rotate(&mut self) {
        let begun = self.0.begin_rotation(ID, &rotation_key());
        let (admin, change): (_, Change<RecordChange>) = begun.expect("no rotation is under way");
        self.0.apply(admin, change.committed()).expect("there is one store");
    }
}
