//! The firmware whose memory `residue/` searches: a device lives up to some point and is dropped, or the stack is wiped while it
//! lives on. The RAM goes to the host as it is before that and as it is afterwards. What happens to the device stands in a script that QEMU loads beside the
//! firmware, made from a life of the same device on the host; each datagram that comes out of it must be the script's.

#![no_std]
#![no_main]

mod flash;
mod script;

use core::hint::black_box;
use core::mem::MaybeUninit;
use core::panic::PanicInfo;

use cortex_m_rt::entry;
use moteseal::boot_counter::NorBootCounter;
use moteseal::device::{Config, Confirm, Device, Parts};
use moteseal::entropy::Entropy;
use moteseal::error::EntropyError;
use moteseal::key_slots::NorKeySlots;
use moteseal::scrub;
use moteseal_cortex_m::host::{self, File};
use moteseal_cortex_m::stack;

use flash::Flash;
use script::{Ending, Script, Step};

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    host::failed(info)
}

const N: usize = 128;
/// How much deeper than the drop a device is called that is called deep: more than a drop wipes.
const DEPTH: usize = 4096;

type Mote = Device<Parts<NorBootCounter<Flash>, NorKeySlots<Flash>, Counting>, N>;

/// The device, and the application's buffer.
struct Board {
    device: MaybeUninit<Mote>,
    buffer: [u8; N],
}

#[entry]
fn main() -> ! {
    static mut BOARD: Board = Board { device: MaybeUninit::uninit(), buffer: [0; N] };
    let before = File::create(c"before").expect("the host can write");
    let after = File::create(c"after").expect("the host can write");
    let bottom = stack::paint();
    live(BOARD, &before, &after, bottom);
    host::exit(0)
}

/// As the main loop of an application: calls the device, and drops it. Neither writing of the RAM uses any stack.
#[inline(never)]
fn live(board: &mut Board, before: &File, after: &File, bottom: usize) {
    let device = (&raw const board.device).addr();
    let places = [stack::pointer(), bottom, device, device + size_of::<Mote>()];
    let ending = script::ending();
    let take = if ending == Ending::Deep { deep } else { take };
    take(board, Step::Boot);
    for step in Script::start() {
        take(board, step);
    }
    before.write(&places);
    before.write_ram();
    match ending {
        Ending::Living => scrub::stack(),
        Ending::Dropped | Ending::Deep => end(board),
    }
    after.write(&places);
    after.write_ram();
}

#[inline(never)]
fn deep(board: &mut Board, step: Step) {
    let below = black_box([0u8; DEPTH]);
    take(board, step);
    black_box(&below);
}

fn take(board: &mut Board, step: Step) {
    let Board { device, buffer } = board;
    if matches!(step, Step::Boot) {
        boot(device);
        return;
    }
    // SAFETY: a life begins with `boot`.
    let device = unsafe { device.assume_init_mut() };
    match step {
        Step::Boot => {}
        Step::Send(datagram) => send(device, buffer, datagram),
        Step::Poll(datagram) => poll(device, buffer, datagram),
        Step::Receive(datagram) => receive(device, buffer, datagram),
    }
}

#[inline(never)]
fn boot(place: &mut MaybeUninit<Mote>) {
    let keys = NorKeySlots::new(Flash, 0).expect("it fits");
    let counter = NorBootCounter::new(Flash, NorKeySlots::<Flash>::LEN).expect("it fits");
    let device = Device::boot(Parts::new(counter, keys, Counting(3)), Config::default());
    place.write(device.expect("the image is good"));
}

#[inline(never)]
fn send(device: &mut Mote, buffer: &mut [u8; N], expected: &[u8]) {
    let sent = device.send(0, b"early", Confirm::Yes, buffer).expect("it works");
    assert!(sent.datagram.is_some_and(|datagram| datagram == expected));
}

#[inline(never)]
fn poll(device: &mut Mote, buffer: &mut [u8; N], expected: &[u8]) {
    let datagram = device.poll(0, buffer).expect("it works");
    assert!(datagram.unwrap_or_default() == expected);
}

#[inline(never)]
fn receive(device: &mut Mote, buffer: &mut [u8; N], datagram: &[u8]) {
    let buffer = &mut buffer[..datagram.len()];
    buffer.copy_from_slice(datagram);
    device.receive(0, buffer).expect("it is authentic");
}

#[inline(never)]
fn end(board: &mut Board) {
    // SAFETY: a life begins with `boot`, and ends here.
    unsafe { board.device.assume_init_drop() };
}

/// A generator whose numbers everybody knows: that of the life on the host.
struct Counting(u8);

impl Entropy for Counting {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        for byte in bytes {
            self.0 = self.0.wrapping_mul(5).wrapping_add(7);
            *byte = self.0;
        }
        Ok(())
    }
}
