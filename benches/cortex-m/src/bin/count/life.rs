//! A device's life through its own interface: boot, Hello, Welcome, telemetry, commands, forgeries, rotation, close.

use core::hint::black_box;
use core::mem::MaybeUninit;

use moteseal::boot_counter::NorBootCounter;
use moteseal::device::{Config, Confirm, Device, Event, Hardware, Parts};
use moteseal::key_slots::NorKeySlots;
use moteseal::server::CommandId;
use moteseal_cortex_m::nor::{Cells, Nor};

use crate::measure::{Aligned, LENGTHS, measure, measure_len};
use crate::rejects;
use crate::world::{Counting, Gateway, ID, INDEX, NOW, provision};

const SEND: [&str; 5] = ["", "device/send/16", "device/send/64", "device/send/256", "device/send/1024"];
const CONFIRMED: [&str; 5] = [
    "",
    "device/send-confirmed/16",
    "device/send-confirmed/64",
    "device/send-confirmed/256",
    "device/send-confirmed/1024",
];
const RECEIVE: [&str; 5] =
    ["", "device/receive/16", "device/receive/64", "device/receive/256", "device/receive/1024"];

/// The longest datagram: the M0's 16 KiB hold both halves for shorter ones only.
pub const LONGEST: usize = 37 + if cfg!(little_memory) { 256 } else { 1024 };
/// A device that keeps datagrams of up to that length.
pub type Mote<H> = Device<H, LONGEST>;

static PAYLOAD: [u8; 1024] = [0xA5; 1024];

const PAGE: usize = 1024;

/// Goes through the life with pages of 1 KiB, and boots once with pages of 4 KiB where there is the memory for it.
#[inline(never)]
pub fn run() {
    static CELLS: Cells<{ 5 * PAGE }> = Cells::new();
    #[cfg(not(little_memory))]
    boot::<4096, { 5 * 4096 }>("device/boot/4096", {
        static CELLS: Cells<{ 5 * 4096 }> = Cells::new();
        &CELLS
    });
    boot::<PAGE, { 5 * PAGE }>("device/boot/1024", &CELLS);
    let booted: Result<Mote<_>, _> = Device::boot(board::<PAGE, _>(&CELLS), Config::default());
    let mut booted = Some(booted.expect("it booted before"));
    let device = booted.as_mut().expect("it is there");
    let mut place = MaybeUninit::uninit();
    let gateway = Gateway::start(&mut place);
    let Aligned(buffer) = &mut Aligned([0; LONGEST]);
    meet(device, gateway, buffer);
    telemetry(device, gateway, buffer);
    rejects::run(device, gateway, buffer);
    command(device, gateway, buffer);
    rotation(device, gateway, buffer);
    let closed = measure("device/close", || device.close(NOW, buffer)).expect("there is room");
    assert!(closed.datagram.is_some());
    measure("device/drop", || booted = None);
}

/// A boot is that of a device with a buffer of 128 bytes, as `device` has it: it returns the device by value.
#[inline(never)]
fn boot<const PAGE: usize, const LEN: usize>(name: &str, cells: &'static Cells<LEN>) {
    provision::<PAGE, LEN>(cells);
    let board = board::<PAGE, LEN>(cells);
    let booted: Result<Device<_, 128>, _> = measure(name, || Device::boot(board, Config::default()));
    booted.expect("it was provisioned");
}

fn board<const PAGE: usize, const LEN: usize>(cells: &'static Cells<LEN>) -> impl Hardware {
    let flash = Nor::<PAGE, LEN>(cells);
    let keys = NorKeySlots::new(flash, 0).expect("it fits");
    let counter = NorBootCounter::new(flash, NorKeySlots::<Nor<PAGE, LEN>>::LEN).expect("it fits");
    Parts::new(counter, keys, Counting(3))
}

/// Hello, Welcome, the first Data and its acknowledgement.
#[inline(never)]
fn meet<H: Hardware>(device: &mut Mote<H>, gateway: &mut Gateway, buffer: &mut [u8; LONGEST]) {
    let payload = black_box([0xA5; 16]);
    let sent =
        measure("device/hello/16", || device.send(NOW, &payload, Confirm::Yes, buffer)).expect("it is free");
    let len = sent.datagram.expect("a Hello goes out at once").len();
    let (welcome, early) = gateway.take(&mut buffer[..len]);
    assert_eq!((len, early), (37 + 16, 16));
    let welcome = welcome.expect("a fresh Hello is answered");
    let datagram = &mut buffer[..welcome.as_bytes().len()];
    datagram.copy_from_slice(welcome.as_bytes());
    let received = measure("device/welcome", || device.receive(NOW, datagram)).expect("it is authentic");
    assert!(matches!(received.event, Some(Event::SessionOpened { .. })));
    assert_eq!(received.settled.len(), 1);
    settle(device, gateway, buffer);
}

/// Lets both speak until the device has nothing more to say.
#[inline(never)]
pub fn settle<H: Hardware>(device: &mut Mote<H>, gateway: &mut Gateway, buffer: &mut [u8; LONGEST]) {
    while let Some(datagram) = device.poll(NOW, buffer).expect("nothing fails") {
        let len = datagram.len();
        deliver(device, gateway, &mut buffer[..len]);
    }
}

/// Hands a datagram to the server, and its answer back. Gives the length of the payload.
fn deliver<H: Hardware>(device: &mut Mote<H>, gateway: &mut Gateway, datagram: &mut [u8]) -> usize {
    let (answer, len) = gateway.take(datagram);
    if let Some(answer) = answer {
        let mut bytes = [0; 31];
        let bytes = &mut bytes[..answer.as_bytes().len()];
        bytes.copy_from_slice(answer.as_bytes());
        device.receive(NOW, bytes).expect("it is authentic");
    }
    len
}

/// Data both ways, in a session that stands.
#[inline(never)]
fn telemetry<H: Hardware>(device: &mut Mote<H>, gateway: &mut Gateway, buffer: &mut [u8; LONGEST]) {
    for (at, len) in LENGTHS.into_iter().enumerate().filter(|(_, len)| (1..=LONGEST - 37).contains(len)) {
        for (names, confirm) in [(&SEND, Confirm::No), (&CONFIRMED, Confirm::Yes)] {
            let payload = black_box(&PAYLOAD[..len]);
            let sent =
                measure_len(names, at, || device.send(NOW, payload, confirm, buffer)).expect("it is free");
            let made = sent.datagram.expect("there is a session").len();
            assert_eq!(deliver(device, gateway, &mut buffer[..made]), len);
        }
        let made = plain(gateway, len, buffer);
        let datagram = black_box(&mut buffer[..made]);
        let received = measure_len(&RECEIVE, at, || device.receive(NOW, datagram)).expect("it is authentic");
        assert_eq!(received.payload.expect("it carries one").bytes, &PAYLOAD[..len]);
        settle(device, gateway, buffer);
    }
}

/// A Data of the server with a payload of `len` bytes that asks for nothing. Gives its length.
pub fn plain(gateway: &mut Gateway, len: usize, buffer: &mut [u8; LONGEST]) -> usize {
    let (datagram, _) = gateway.0.send_plain(ID, &PAYLOAD[..len], buffer).expect("there is a session");
    datagram.len()
}

/// A command that asks for an acknowledgement, and that.
#[inline(never)]
fn command<H: Hardware>(device: &mut Mote<H>, gateway: &mut Gateway, buffer: &mut [u8; LONGEST]) {
    let payload = [0x5A; 16];
    let (sending, mark) = gateway.0.begin_command(ID, CommandId(1), 16).expect("there is a session");
    let transmit = gateway.0.seal_command(NOW, sending, &mark.committed(), &payload).expect("it was begun");
    let len = copy(transmit.expect("the address is known").datagram, buffer);
    let datagram = black_box(&mut buffer[..len]);
    let received = measure("device/command/16", || device.receive(NOW, datagram)).expect("it is authentic");
    assert!(received.payload.is_some_and(|command| command.bytes == payload && command.age_ms.is_some()));
    let answer = measure("device/acknowledge", || device.poll(NOW, buffer)).expect("nothing fails");
    let len = answer.expect("it was asked for").len();
    deliver(device, gateway, &mut buffer[..len]);
    settle(device, gateway, buffer);
}

/// A new device key over the air: *rotate* taken, which writes it to flash, and the Hello under it.
#[inline(never)]
fn rotation<H: Hardware>(device: &mut Mote<H>, gateway: &mut Gateway, buffer: &mut [u8; LONGEST]) {
    gateway.rotate();
    let len = copy(gateway.0.poll(NOW, INDEX).expect("a rotate is due").datagram, buffer);
    let datagram = black_box(&mut buffer[..len]);
    let received = measure("device/rotate", || device.receive(NOW, datagram)).expect("it is authentic");
    assert!(matches!(received.event, Some(Event::KeyTaken(_))));
    drop(received);
    settle(device, gateway, buffer);
}

fn copy(datagram: &[u8], buffer: &mut [u8; LONGEST]) -> usize {
    buffer[..datagram.len()].copy_from_slice(datagram);
    datagram.len()
}
