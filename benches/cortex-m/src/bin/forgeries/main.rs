//! The firmware that counts, in QEMU, what a wrong tag costs: one that differs in its first byte, in the middle, in its last
//! byte, in every bit. A line of output: name, and the ticks of each of the four.

#![no_std]
#![no_main]

#[path = "../count/world.rs"]
#[allow(dead_code, reason = "the firmware of the costs uses more of it")]
mod world;

use core::hint::black_box;
use core::mem::MaybeUninit;
use core::panic::PanicInfo;

use cortex_m_rt::entry;
use moteseal::boot_counter::NorBootCounter;
use moteseal::delivery::Timing;
use moteseal::device::{Config, Confirm, Device, Hardware, Parts};
use moteseal::key_slots::NorKeySlots;
use moteseal::keys::DeviceKey;
use moteseal::number::Generation;
use moteseal::record::{GatewayId, Record};
use moteseal::server::{FixedTable, Received, Server, Table as _};
use moteseal_cortex_m::nor::{Cells, Nor};
use moteseal_cortex_m::{counter, host};

use world::{Counting, Gateway, ID, INDEX, NOW, provision};

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    host::failed(info)
}

const PAGE: usize = 256;
const TAG_LEN: usize = 16;
/// The longest datagram here.
const LONGEST: usize = 104;

type Mote<H> = Device<H, LONGEST>;
type Places = fn(&mut [u8]);

/// Where a tag is wrong.
const PLACES: [Places; 4] = [
    |tag| tag[0] ^= 0x40,
    |tag| tag[7] ^= 0x40,
    |tag| tag[15] ^= 0x40,
    |tag| tag.iter_mut().for_each(|byte| *byte ^= 0xFF),
];

#[entry]
fn main() -> ! {
    control();
    life();
    floor(&mut [0; LONGEST]);
    host::exit(0)
}

/// One device, and two servers after each other.
#[inline(never)]
fn life() {
    let (mut device, mut buffer) = (boot(), [0; LONGEST]);
    let record = session(&mut device, &mut buffer);
    without_counters(&mut device, record, &mut buffer);
}

/// What belongs to a session; the record that its server has at the end. One server at a time fits the M0's memory.
#[inline(never)]
fn session<H: Hardware>(device: &mut Mote<H>, buffer: &mut [u8; LONGEST]) -> Record {
    let mut place = MaybeUninit::uninit();
    let gateway = serve(&mut place, provisioned());
    hello(device, gateway, buffer);
    welcome(device, gateway, buffer);
    candidate(device, gateway, buffer);
    data(device, gateway, buffer);
    gateway.0.table().peer(INDEX).expect("it knows one device").record().clone()
}

fn boot() -> Mote<impl Hardware> {
    static CELLS: Cells<{ 5 * PAGE }> = Cells::new();
    provision::<PAGE, { 5 * PAGE }>(&CELLS);
    let flash = Nor::<PAGE, { 5 * PAGE }>(&CELLS);
    let keys = NorKeySlots::new(flash, 0).expect("it fits");
    let counter = NorBootCounter::new(flash, 3 * PAGE as u32).expect("it fits");
    Device::boot(Parts::new(counter, keys, Counting(3)), Config::default()).expect("it was provisioned")
}

/// Counts `drop` for each of the four, on a datagram that is genuine but for its tag. It must drop them all.
#[inline(never)]
fn count(name: &str, genuine: &[u8], mut drop: impl FnMut(&mut [u8]) -> bool) {
    let mut ticks = [0; 4];
    for (ticks, wrong) in ticks.iter_mut().zip(PLACES) {
        let mut room = [0; LONGEST];
        let datagram = &mut room[..genuine.len()];
        datagram.copy_from_slice(genuine);
        wrong(&mut datagram[genuine.len() - TAG_LEN..]);
        let (datagram, mut dropped) = (black_box(datagram), false);
        *ticks = counter::ticks(|| dropped = drop(datagram)).expect("the counter wrapped");
        assert!(dropped);
    }
    host::line(name, &ticks);
}

/// What must differ: a comparison that stops at the first byte that is wrong.
#[inline(never)]
fn control() {
    let right = black_box([0xA5; TAG_LEN]);
    count("control", &right, |tag| !right.iter().zip(tag).all(|(right, found)| *right == black_box(*found)));
}

fn keep(datagram: &[u8], buffer: &mut [u8; LONGEST]) -> usize {
    buffer[..datagram.len()].copy_from_slice(datagram);
    datagram.len()
}

fn is_rejected<T: moteseal::server::Table<Address = u8>, E: moteseal::entropy::Entropy>(
    server: &mut Server<T, E>,
    datagram: &mut [u8],
) -> bool {
    matches!(server.receive(NOW, 1, datagram), Received::Rejected { .. })
}

#[inline(never)]
fn hello<H: Hardware>(device: &mut Mote<H>, gateway: &mut Gateway, buffer: &mut [u8; LONGEST]) {
    let sent = device.send(NOW, &[0xA5; 16], Confirm::Yes, buffer).expect("it is free");
    let len = sent.datagram.expect("a Hello goes out at once").len();
    count("server/hello", &buffer[..len], |datagram| is_rejected(&mut gateway.0, datagram));
}

#[inline(never)]
fn welcome<H: Hardware>(device: &mut Mote<H>, gateway: &mut Gateway, buffer: &mut [u8; LONGEST]) {
    let (welcome, _) = gateway.take(&mut buffer[..37 + 16]);
    let len = keep(welcome.expect("a fresh Hello is answered").as_bytes(), buffer);
    count("device/welcome", &buffer[..len], |datagram| device.receive(NOW, datagram).is_err());
    device.receive(NOW, &mut buffer[..len]).expect("it is authentic");
}

#[inline(never)]
fn candidate<H: Hardware>(device: &mut Mote<H>, gateway: &mut Gateway, buffer: &mut [u8; LONGEST]) {
    let len = device.poll(NOW, buffer).expect("nothing fails").expect("the first Data").len();
    count("server/data/candidate", &buffer[..len], |datagram| is_rejected(&mut gateway.0, datagram));
    let (answer, _) = gateway.take(&mut buffer[..len]);
    let len = keep(answer.expect("it is acknowledged").as_bytes(), buffer);
    device.receive(NOW, &mut buffer[..len]).expect("it is authentic");
}

#[inline(never)]
fn data<H: Hardware>(device: &mut Mote<H>, gateway: &mut Gateway, buffer: &mut [u8; LONGEST]) {
    for (names, len) in [(["server/data/1", "device/data/1"], 1), (["server/data/64", "device/data/64"], 64)]
    {
        let payload = &[0xA5; 64][..len];
        let sent = device.send(NOW, payload, Confirm::No, buffer).expect("a session is open");
        let len = sent.datagram.expect("it goes out at once").len();
        count(names[0], &buffer[..len], |datagram| is_rejected(&mut gateway.0, datagram));
        gateway.take(&mut buffer[..len]);
        let len = gateway.0.send_plain(ID, payload, buffer).expect("a session is open").0.len();
        count(names[1], &buffer[..len], |datagram| device.receive(NOW, datagram).is_err());
    }
}

/// A server that has lost its counters, and its Reset.
#[inline(never)]
fn without_counters<H: Hardware>(device: &mut Mote<H>, record: Record, buffer: &mut [u8; LONGEST]) {
    let mut place = MaybeUninit::uninit();
    let server = &mut serve(&mut place, record).0;
    let sent = device.send(NOW, &[0xA5; 16], Confirm::Yes, buffer).expect("a session is open");
    let len = sent.datagram.expect("it goes out at once").len();
    count("server/data/without-counters", &buffer[..len], |datagram| is_rejected(server, datagram));
    let Received::Answered { answer, .. } = server.receive(NOW, 1, &mut buffer[..len]) else {
        panic!("no Reset")
    };
    let len = keep(answer.as_bytes(), buffer);
    count("device/reset", &buffer[..len], |datagram| device.receive(NOW, datagram).is_err());
    device.receive(NOW, &mut buffer[..len]).expect("it is authentic");
}

/// A device whose server has seen later epochs.
#[inline(never)]
fn floor(buffer: &mut [u8; LONGEST]) {
    let mut device = boot();
    device.connect(NOW);
    let len = device.poll(NOW, buffer).expect("nothing fails").expect("a Hello is due").len();
    stale(&mut device, len, buffer);
}

#[inline(never)]
fn stale<H: Hardware>(device: &mut Mote<H>, len: usize, buffer: &mut [u8; LONGEST]) {
    let mut place = MaybeUninit::uninit();
    let server = &mut serve(&mut place, provisioned().raised(9)).0;
    let Received::Answered { answer, .. } = server.receive(NOW, 1, &mut buffer[..len]) else {
        panic!("no Floor")
    };
    let len = keep(answer.as_bytes(), buffer);
    count("device/floor", &buffer[..len], |datagram| device.receive(NOW, datagram).is_err());
    device.receive(NOW, &mut buffer[..len]).expect("it is authentic");
}

fn provisioned() -> Record {
    Record::provisioned(ID, Generation::FIRST, DeviceKey::new([3; 32]))
}

/// A server that knows the device, made in its place: where memory is short, one that is moved is too long.
#[inline(never)]
fn serve(place: &mut MaybeUninit<Gateway>, record: Record) -> &mut Gateway {
    let mut table = FixedTable::new();
    table.insert(record).expect("there is room for one");
    let server = Server::new(table, Counting(1), GatewayId(0), Timing::DEFAULT, 0);
    place.write(Gateway(server.expect("the generator works")))
}
