//! A device and its server from end to end: what happens, datagram by datagram, when all goes well and when something
//! is lost. One short story each; `simulation` is where an attacker joins in. SPEC section 13.

use std::cell::RefCell;

use moteseal::boot_counter::{NorBootCounter, entry};
use moteseal::delivery::{Millis, Outcome, Timing};
use moteseal::device::{Config, Confirm, Device, Event, Hardware, OldKey, Parts, Settled};
use moteseal::entropy::{Entropy, FromFn};
use moteseal::error::{BootError, EntropyError, Reject};
use moteseal::flash::SharedFlash;
use moteseal::identity::{FactoryImage, Identity};
use moteseal::key_slots::NorKeySlots;
use moteseal::keys::{DeviceKey, RotationKey};
use moteseal::number::{DeviceId, Epoch, Generation};
use moteseal::record::{GatewayId, Record, Status, raised_mark};
use moteseal::server::{
    Admin, AnswerKind, Change, CommandId, ControlEvent, FixedTable, Index, Received, RecordChange, Server,
};
use moteseal_sim::nor::{Nor, Tear};

const ID: DeviceId = DeviceId::new(*b"\x02door\0\0\x01");
const DOOR: Index = Index(0);
const PAGE: usize = 256;
/// Two pages of boot counter stand behind three of keys.
const COUNTER: usize = 3 * PAGE;
type Flash = Nor<4, PAGE>;

/// What the two applications, and whoever reads the logs, get to see.
#[derive(Debug, PartialEq)]
enum Seen {
    Hello(Epoch),
    Early(&'static str),
    Data(&'static str),
    Answer(AnswerKind),
    Rejected(Reject),
    Moved { from: u32, excused: bool },
    CommandAcknowledged(u64),
    CommandUnknown(u64),
    Device(Event),
    Command(String),
    Outcome(Outcome),
}

/// The server, and what it keeps: one record and the mark.
struct Site<E: Entropy> {
    server: Server<FixedTable<&'static str, 4, 128>, E>,
    record: Record,
    now: Millis,
    seen: Vec<Seen>,
}

fn rng() -> impl Entropy {
    FromFn(|bytes: &mut [u8]| getrandom::fill(bytes).map_err(|_| EntropyError::Failed))
}

fn rotation_key() -> RotationKey {
    RotationKey::new([2; 32])
}

/// From the factory: flash with keys and a boot counter of 6, and the record.
fn provision() -> (RefCell<Flash>, Record) {
    let key = DeviceKey::new([1; 32]);
    let image = FactoryImage::new(Identity { device_id: ID, rotation_key: rotation_key() }, key.clone());
    let mut flash = Flash::new(5 * PAGE);
    for (offset, part) in image.parts(u32::try_from(PAGE).unwrap()) {
        flash.put(offset as usize, part.expose()).unwrap();
    }
    flash.put(COUNTER, &entry(6)).unwrap();
    (RefCell::new(flash), Record::provisioned(ID, Generation::FIRST, key))
}

fn boot(flash: &RefCell<Flash>) -> Device<impl Hardware, 128> {
    try_boot(flash).unwrap()
}

fn try_boot(flash: &RefCell<Flash>) -> Result<Device<impl Hardware, 128>, BootError> {
    let keys = NorKeySlots::new(SharedFlash::new(flash), 0).unwrap();
    let counter = NorBootCounter::new(SharedFlash::new(flash), NorKeySlots::<Flash>::LEN).unwrap();
    Device::boot(Parts::new(counter, keys, rng()), Config::default())
}

fn start(record: &Record, mark: u32) -> Site<impl Entropy + use<>> {
    let mut table = FixedTable::new();
    table.insert(record.clone()).unwrap();
    let server = Server::new(table, rng(), GatewayId(0), Timing::DEFAULT, mark).unwrap();
    Site { server, record: record.clone(), now: 10_000, seen: Vec::new() }
}

impl<E: Entropy> Site<E> {
    /// The store makes a change.
    fn write(&mut self, change: &Change<RecordChange>) {
        self.record = change.value().record.clone();
    }

    fn administrate(&mut self, (admin, change): (Admin, Change<RecordChange>)) {
        self.write(&change);
        self.server.apply(admin, change.committed()).unwrap();
    }

    /// The device hands a payload over, and the network carries whatever follows until nobody has more to say.
    fn send(&mut self, device: &mut Device<impl Hardware, 128>, payload: &str) -> Vec<Seen> {
        let mut out = [0; 128];
        let sent = device.send(self.now, payload.as_bytes(), Confirm::Yes, &mut out).unwrap();
        let first = sent.datagram.map(<[u8]>::to_vec);
        self.carry(device, first)
    }

    /// Carries datagrams to and fro. Gives what was seen.
    fn carry(&mut self, device: &mut Device<impl Hardware, 128>, first: Option<Vec<u8>>) -> Vec<Seen> {
        let mut out = [0; 128];
        let mut up = Vec::from_iter(first);
        loop {
            while let Some(datagram) = device.poll(self.now, &mut out).unwrap() {
                up.push(datagram.to_vec());
            }
            let mut down = Vec::new();
            up.drain(..).for_each(|datagram| down.extend(self.receive(datagram)));
            while let Some(transmit) = self.server.poll(self.now, DOOR) {
                down.push(transmit.datagram.to_vec());
            }
            if down.is_empty() {
                return std::mem::take(&mut self.seen);
            }
            self.now += 100;
            for mut datagram in down {
                let received = device.receive(self.now, &mut datagram).unwrap();
                let payload = received.payload.map(|p| String::from_utf8(p.bytes.to_vec()).unwrap());
                self.seen.extend(received.event.map(Seen::Device));
                self.seen.extend(payload.map(Seen::Command));
                let outcomes = received.settled.iter().map(|Settled { outcome, .. }| Seen::Outcome(*outcome));
                self.seen.extend(outcomes);
            }
        }
    }

    /// One datagram at the server: written, delivered, answered, in this order.
    fn receive(&mut self, datagram: Vec<u8>) -> Option<Vec<u8>> {
        match self.server.receive(self.now, "the door", datagram) {
            Received::Rejected { reason, .. } => {
                self.seen.push(Seen::Rejected(reason));
                None
            }
            Received::Answered { kind, answer, .. } => {
                self.seen.push(Seen::Answer(kind));
                Some(answer.as_bytes().to_vec())
            }
            Received::Pending(held, change) => {
                self.write(&change);
                let committed = self.server.commit(held, change.committed()).unwrap();
                self.seen.push(Seen::Hello(committed.epoch));
                let early = committed.payload.map(|payload| word(payload.as_bytes()));
                self.seen.extend(early.map(Seen::Early));
                committed.welcome.map(|(welcome, _)| welcome.as_bytes().to_vec())
            }
            Received::Data(data) => {
                self.seen.extend(data.payload.map(|payload| Seen::Data(word(payload.as_bytes()))));
                self.seen.extend(data.acknowledged.map(|id| Seen::CommandAcknowledged(id.0)));
                self.seen.extend(data.unknown.map(|id| Seen::CommandUnknown(id.0)));
                if let Some(ControlEvent::Moved { from, excused }) = data.control {
                    self.seen.push(Seen::Moved { from, excused });
                }
                data.answer.map(|(answer, _)| answer.as_bytes().to_vec())
            }
        }
    }

    /// Marks a command as sent, seals it, and gives the datagram.
    fn command(&mut self, id: u64, payload: &str) -> Vec<u8> {
        let (sending, mark) = self.server.begin_command(ID, CommandId(id), payload.len()).unwrap();
        let sealed = self.server.seal_command(self.now, sending, &mark.committed(), payload.as_bytes());
        sealed.unwrap().unwrap().datagram.to_vec()
    }
}

/// One of the payloads of these stories.
fn word(payload: &[u8]) -> &'static str {
    ["21.5 C", "21.6 C", "21.7 C"].into_iter().find(|known| known.as_bytes() == payload).unwrap()
}

fn opened(epoch: Epoch) -> Seen {
    Seen::Device(Event::SessionOpened { epoch, old_key: OldKey::Untouched })
}

#[test]
fn from_the_first_boot_to_a_command() {
    let (flash, record) = provision();
    let mut site = start(&record, 0);
    let mut device = boot(&flash);
    // The payload goes out in the Hello, and is delivered before the Welcome is sent.
    let epoch = Epoch::new(7, 0);
    assert_eq!(
        site.send(&mut device, "21.5 C"),
        [Seen::Hello(epoch), Seen::Early("21.5 C"), opened(epoch), Seen::Outcome(Outcome::Acknowledged)]
    );
    // From now on payloads are Data.
    assert_eq!(
        site.send(&mut device, "21.6 C"),
        [Seen::Data("21.6 C"), Seen::Outcome(Outcome::Acknowledged)]
    );
    // A command comes the other way; its acknowledgement ends it.
    let mut command = site.command(1, "open");
    let received = device.receive(site.now, &mut command).unwrap();
    assert_eq!(received.payload.map(|payload| payload.bytes), Some(&b"open"[..]));
    assert_eq!(site.carry(&mut device, None), [Seen::CommandAcknowledged(1)]);
}

#[test]
fn a_power_cut_costs_the_device_one_write_and_nobody_else_anything() {
    let (flash, record) = provision();
    let mut site = start(&record, 0);
    let mut device = boot(&flash);
    site.send(&mut device, "21.5 C");
    drop(device);
    // The next boot, 8, is cut in the middle of its one write; the one after it is not. Whether 8 was used is not known
    // from what is left of it.
    flash.borrow_mut().cut_power(1, Tear::Random(4));
    assert!(try_boot(&flash).is_err());
    flash.borrow_mut().power_on();
    let mut device = boot(&flash);
    let epoch = Epoch::new(9, 0);
    assert_eq!(
        site.send(&mut device, "21.6 C"),
        [Seen::Hello(epoch), Seen::Early("21.6 C"), opened(epoch), Seen::Outcome(Outcome::Acknowledged)]
    );
}

#[test]
fn a_server_that_crashed_says_reset_and_the_device_is_back() {
    let (flash, record) = provision();
    let mut site = start(&record, 0);
    let mut device = boot(&flash);
    site.send(&mut device, "21.5 C");
    // Its records are durable, its counters are gone: it cannot know whether it has delivered this Data before.
    let mut site = start(&site.record, 0);
    let epoch = Epoch::new(7, 1);
    assert_eq!(
        site.send(&mut device, "21.6 C"),
        [
            Seen::Answer(AnswerKind::Reset),
            Seen::Device(Event::SessionLost),
            Seen::Hello(epoch),
            opened(epoch),
            Seen::Outcome(Outcome::Unknown),
        ]
    );
    // Only the application may send it again, as a new payload.
    assert_eq!(
        site.send(&mut device, "21.6 C"),
        [Seen::Data("21.6 C"), Seen::Outcome(Outcome::Acknowledged)]
    );
}

#[test]
fn a_restored_backup_takes_every_device_past_the_mark() {
    let (flash, record) = provision();
    let mut site = start(&record, 0);
    let backup = record;
    let mut device = boot(&flash);
    site.send(&mut device, "21.5 C");
    drop(device);
    // The backup knows nothing of epoch (7, 0). Raised, it takes no recording of it.
    let mark = raised_mark(0, backup.newest().boot());
    let mut site = start(&backup.raised(mark), mark);
    let mut device = boot(&flash);
    let (floor, epoch) = (Epoch::new(mark, 0xFFFF), Epoch::new(mark + 1, 0));
    assert_eq!(
        site.send(&mut device, "21.6 C"),
        [
            Seen::Answer(AnswerKind::Floor),
            Seen::Device(Event::Stale { floor, moved: true }),
            Seen::Outcome(Outcome::Unknown),
            Seen::Hello(epoch),
            opened(epoch),
            Seen::Moved { from: 8, excused: true },
        ]
    );
    assert_eq!(
        site.send(&mut device, "21.6 C"),
        [Seen::Data("21.6 C"), Seen::Outcome(Outcome::Acknowledged)]
    );
}

#[test]
fn an_erased_boot_counter_is_moved_past_what_the_server_has_seen() {
    let (flash, record) = provision();
    let mut site = start(&record, 0);
    let mut device = boot(&flash);
    site.send(&mut device, "21.5 C");
    drop(device);
    flash.borrow_mut().put(COUNTER, &[0xFF; 2 * PAGE]).unwrap();
    // Its first Hello, of epoch (1, 0), carries no payload: that epoch has named one before.
    let mut device = boot(&flash);
    let epoch = Epoch::new(8, 0);
    assert_eq!(
        site.send(&mut device, "21.6 C"),
        [
            Seen::Answer(AnswerKind::Floor),
            Seen::Device(Event::Stale { floor: Epoch::new(7, 0), moved: true }),
            Seen::Hello(epoch),
            Seen::Early("21.6 C"),
            opened(epoch),
            Seen::Outcome(Outcome::Acknowledged),
            Seen::Moved { from: 1, excused: false },
        ]
    );
}

#[test]
fn a_rotation_ends_with_the_old_key_erased_on_both_sides() {
    let (flash, record) = provision();
    let mut site = start(&record, 0);
    let mut device = boot(&flash);
    site.send(&mut device, "21.5 C");
    let begun = site.server.begin_rotation(ID, &rotation_key()).unwrap();
    site.administrate(begun);
    let (second, epoch) = (Generation::new(2).unwrap(), Epoch::new(7, 1));
    let mut rotate = site.server.poll(site.now, DOOR).unwrap().datagram.to_vec();
    let received = device.receive(site.now, &mut rotate).unwrap();
    assert_eq!(received.event, Some(Event::KeyTaken(second)));
    assert_eq!(
        site.carry(&mut device, None),
        [Seen::Hello(epoch), Seen::Device(Event::SessionOpened { epoch, old_key: OldKey::Erased })]
    );
    // A session under the new key is confirmed: the server lets the old one go as well.
    assert_eq!(site.server.rotation_to_finish(DOOR), Some(second));
    let finished = site.server.finish_rotation(DOOR).unwrap();
    site.administrate(finished);
    assert_eq!((site.record.generation(), site.record.rotation().is_none()), (second, true));
    assert_eq!(
        site.send(&mut device, "21.6 C"),
        [Seen::Data("21.6 C"), Seen::Outcome(Outcome::Acknowledged)]
    );
    // And the next boot finds one key.
    drop(device);
    let mut device = boot(&flash);
    let epoch = Epoch::new(8, 0);
    assert_eq!(
        site.send(&mut device, "21.7 C"),
        [Seen::Hello(epoch), Seen::Early("21.7 C"), opened(epoch), Seen::Outcome(Outcome::Acknowledged)]
    );
}

#[test]
fn a_revoked_device_is_silent_from_the_next_datagram_on() {
    let (flash, record) = provision();
    let mut site = start(&record, 0);
    let mut device = boot(&flash);
    site.send(&mut device, "21.5 C");
    let revoked = site.server.set_status(ID, Status::Revoked).unwrap();
    // Before the store has said a word.
    assert_eq!(site.send(&mut device, "21.6 C"), [Seen::Rejected(Reject::NotActive)]);
    site.administrate(revoked);
    drop(device);
    let mut device = boot(&flash);
    assert_eq!(site.send(&mut device, "21.7 C"), [Seen::Rejected(Reject::NotActive)]);
    assert!(site.server.set_status(ID, Status::Active).is_err(), "that is final");
}
