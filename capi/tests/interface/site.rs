//! The other side: the crate's server half with one device, and a store that is a variable.

use std::collections::BTreeMap;

use moteseal::boot_counter::entry;
use moteseal::delivery::Timing;
use moteseal::entropy::Entropy;
use moteseal::error::{AdminError, CommandError, EntropyError, Reject};
use moteseal::identity::{FactoryImage, Identity};
use moteseal::keys::{DeviceKey, RotationKey};
use moteseal::number::{DeviceId, Generation};
use moteseal::record::{GatewayId, Record};
use moteseal::server::{Admin, Change, CommandId, FixedTable, Index, Received, RecordChange, Server};

pub const ID: DeviceId = DeviceId::new(*b"c-mote-1");
const DEVICE: Index = Index(0);
type Gateway = Server<FixedTable<&'static str, 1, 256>, SystemRng>;

/// The server, its store, and what its application has seen.
pub struct Site {
    server: Gateway,
    record: Record,
    pub payloads: Vec<String>,
    /// What became of commands.
    pub commands: BTreeMap<u64, &'static str>,
    pub closed: usize,
}

/// The system's generator.
struct SystemRng;

impl Entropy for SystemRng {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        getrandom::fill(bytes).map_err(|_| EntropyError::Failed)
    }
}

fn rotation_key() -> RotationKey {
    RotationKey::new([2; 32])
}

fn start(record: &Record) -> Gateway {
    let mut table = FixedTable::new();
    table.insert(record.clone()).unwrap();
    Server::new(table, SystemRng, GatewayId(0), Timing::DEFAULT, 0).unwrap()
}

/// What the factory flashes, for erase pages of `page` bytes, and the site that knows the device.
pub fn provision(page: usize) -> (Vec<u8>, Site) {
    let key = DeviceKey::new([1; 32]);
    let image = FactoryImage::new(Identity { device_id: ID, rotation_key: rotation_key() }, key.clone());
    let mut flash = vec![0xFF; 5 * page];
    for (offset, part) in image.parts(u32::try_from(page).unwrap()) {
        flash[offset as usize..][..part.expose().len()].copy_from_slice(part.expose());
    }
    flash[3 * page..][..8].copy_from_slice(&entry(0));
    let record = Record::provisioned(ID, Generation::FIRST, key);
    let server = start(&record);
    (flash, Site { server, record, payloads: Vec::new(), commands: BTreeMap::new(), closed: 0 })
}

impl Site {
    fn write(&mut self, change: &Change<RecordChange>) {
        self.record = change.value().record.clone();
    }

    fn administrate(&mut self, (admin, change): (Admin, Change<RecordChange>)) {
        self.write(&change);
        self.server.apply(admin, change.committed()).unwrap();
    }

    /// It is killed and started again: what was not durable is lost.
    pub fn restart(&mut self) {
        self.server = start(&self.record);
    }

    /// The next device key goes to the device.
    pub fn begin_rotation(&mut self) -> Result<(), AdminError> {
        let change = self.server.begin_rotation(ID, &rotation_key())?;
        self.administrate(change);
        Ok(())
    }

    pub fn finish_rotation(&mut self) -> Result<(), AdminError> {
        let change = self.server.finish_rotation(DEVICE)?;
        self.administrate(change);
        Ok(())
    }

    /// A datagram comes that nobody has touched; what goes back.
    pub fn receive(&mut self, now: u64, datagram: &[u8]) -> Vec<Vec<u8>> {
        self.take(now, datagram).unwrap_or_else(|reason| panic!("{reason}"))
    }

    /// A datagram comes; what goes back, or why it was dropped.
    pub fn take(&mut self, now: u64, datagram: &[u8]) -> Result<Vec<Vec<u8>>, Reject> {
        let answer = match self.server.receive(now, "the device", datagram.to_vec()) {
            Received::Rejected { reason, .. } => return Err(reason),
            Received::Answered { answer, .. } => Some(answer.as_bytes().to_vec()),
            Received::Pending(held, change) => {
                self.write(&change);
                let committed = self.server.commit(held, change.committed()).unwrap();
                self.payloads.extend(committed.payload.map(|payload| text(payload.as_bytes())));
                committed.welcome.map(|(welcome, _)| welcome.as_bytes().to_vec())
            }
            Received::Data(data) => {
                self.payloads.extend(data.payload.map(|payload| text(payload.as_bytes())));
                self.commands.extend(data.acknowledged.map(|id| (id.0, "acknowledged")));
                self.commands.extend(data.unknown.map(|id| (id.0, "unknown")));
                self.closed +=
                    usize::from(matches!(data.control, Some(moteseal::server::ControlEvent::Close)));
                data.answer.map(|(answer, _)| answer.as_bytes().to_vec())
            }
        };
        let mut answers = Vec::from_iter(answer);
        answers.extend(self.poll(now));
        Ok(answers)
    }

    /// Whatever is due.
    pub fn poll(&mut self, now: u64) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.server.poll(now, DEVICE).map(|due| due.datagram.to_vec())).collect()
    }

    /// A command in the present session.
    pub fn command(&mut self, now: u64, id: u64, payload: &[u8]) -> Vec<u8> {
        self.try_command(now, id, payload).unwrap().unwrap()
    }

    /// A command in a session that may not be there, or may be busy; nothing if it goes out later.
    pub fn try_command(
        &mut self,
        now: u64,
        id: u64,
        payload: &[u8],
    ) -> Result<Option<Vec<u8>>, CommandError> {
        let (sending, mark) = self.server.begin_command(ID, CommandId(id), payload.len())?;
        let sealed = self.server.seal_command(now, sending, &mark.committed(), payload)?;
        Ok(sealed.map(|sealed| sealed.datagram.to_vec()))
    }
}

fn text(payload: &[u8]) -> String {
    String::from_utf8(payload.to_vec()).unwrap()
}
