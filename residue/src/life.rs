//! The watched process: one device and its server, each on a stack of its own, up to some point of their life. Then both
//! are dropped, and it waits to be searched. It never holds a key outside of the crate: images and records come from files,
//! into memory that is wiped.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Mutex;

use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};
use moteseal::aead::Backend;
use moteseal::boot_counter::{BootCounter, Stored};
use moteseal::delivery::Timing;
use moteseal::device::{Config, Confirm, Device, Parts};
use moteseal::entropy::Entropy;
use moteseal::error::{EntropyError, StorageError};
use moteseal::identity::{Identity, PART_LEN};
use moteseal::key_slots::NorKeySlots;
use moteseal::record::{GatewayId, RECORD_LEN, Record};
use moteseal::server::{FixedTable, Index, Received, Server};
use zeroize::{Zeroize as _, Zeroizing};

use crate::actor::Actor;
use crate::keys::ID;

const PAGE: usize = 128;
const N: usize = 128;
const INDEX: Index = Index(0);

type Mote<A> = Device<Parts<Counter, NorKeySlots<Flash>, Counting>, N, A>;
type Gateway<A> = Server<FixedTable<u8, 1, 160, A>, Counting>;

/// Points of a life, in their order.
pub const PHASES: [&str; 6] =
    ["boot", "Hello", "Welcome", "Data both ways", "rotate taken", "old key erased"];

/// What is done wrong on purpose, so that keys must be found: a control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lapse {
    /// Nothing.
    None,
    /// The image stays in memory.
    Image,
    /// Neither half is dropped.
    Halves,
    /// Both are called far deeper on the stack than they are dropped.
    Depths,
}

impl Lapse {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::None, Self::Image, Self::Halves, Self::Depths];

    /// For the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "nothing",
            Self::Image => "the image left",
            Self::Halves => "nothing dropped",
            Self::Depths => "called deeper",
        }
    }
}

/// The image that was left.
static LEFT: Mutex<Vec<u8>> = Mutex::new(Vec::new());
/// The flash, which is no memory: it is wiped before the search.
static FLASH: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Lives up to `phase`, and tells every datagram that the device makes or is given, and every answer of the server.
pub fn run<A: Backend + 'static>(directory: &Path, phase: usize, lapse: Lapse) {
    *FLASH.lock().expect("one thread") = read(directory, "image", 3 * PAGE).to_vec();
    if lapse == Lapse::Image {
        *LEFT.lock().expect("one thread") = read(directory, "image", 3 * PAGE).to_vec();
    }
    let is_deep = lapse == Lapse::Depths;
    let (device, server) = (Actor::<Mote<A>>::start(is_deep), Actor::<Gateway<A>>::start(is_deep));
    println!("stack device {}", device.stack);
    println!("stack server {}", server.stack);
    live(directory, phase, &device, &server);
    if lapse != Lapse::Halves {
        device.end();
        server.end();
    }
    FLASH.lock().expect("one thread").zeroize();
    println!("ready");
    // Until it is told that the search is over.
    let _ = io::stdin().read(&mut [0]);
}

fn live<A: Backend + 'static>(
    directory: &Path,
    phase: usize,
    device: &Actor<Mote<A>>,
    server: &Actor<Gateway<A>>,
) {
    device.begin(boot);
    let record = read(directory, "record", RECORD_LEN);
    server.begin(serve);
    server.run(move |server| {
        let record = Record::decode(&record).expect("a record");
        server.table_mut().insert(record).expect("there is room for one");
    });
    if phase == 0 {
        return;
    }
    let hello = device.run(|device| {
        let mut out = [0; N];
        device
            .send(0, b"early", Confirm::Yes, &mut out)
            .expect("it works")
            .datagram
            .expect("a Hello")
            .to_vec()
    });
    println!("send {}", hex(&hello));
    let welcome = take(server, hello).expect("it is fresh");
    if phase == 1 {
        return;
    }
    receive(device, welcome);
    if phase == 2 {
        return;
    }
    settle(device, server);
    let down = server.run(|server| {
        let mut out = [0; N];
        server.send_plain(ID, b"down", &mut out).expect("in a session").0.to_vec()
    });
    receive(device, down);
    if phase == 3 {
        return;
    }
    rotate(directory, server, device);
    if phase > 4 {
        settle(device, server);
        server.run(|server| {
            let (admin, change) = server.finish_rotation(INDEX).expect("a session under the new key");
            server.apply(admin, change.committed()).expect("there is one store");
        });
    }
}

/// A rotation begun on the server, and the *rotate* at the device.
fn rotate<A: Backend + 'static>(directory: &Path, server: &Actor<Gateway<A>>, device: &Actor<Mote<A>>) {
    let part = read(directory, "image", PART_LEN);
    let rotate = server.run(move |server| {
        let identity = Identity::parse(part.as_slice().try_into().expect("a part")).expect("whole");
        let begun = server.begin_rotation(ID, &identity.rotation_key);
        let (admin, change) = begun.expect("no rotation is under way");
        server.apply(admin, change.committed()).expect("there is one store");
        server.poll(0, INDEX).expect("a rotate is due").datagram.to_vec()
    });
    receive(device, rotate);
}

/// Lets both speak until the device has nothing more to say.
fn settle<A: Backend + 'static>(device: &Actor<Mote<A>>, server: &Actor<Gateway<A>>) {
    loop {
        let datagram = device.run(|device| {
            let mut out = [0; N];
            device.poll(0, &mut out).expect("it works").map(<[u8]>::to_vec)
        });
        println!("poll {}", datagram.as_deref().map(hex).unwrap_or_default());
        let Some(datagram) = datagram else { return };
        let Some(answer) = take(server, datagram) else { continue };
        receive(device, answer);
    }
}

fn receive<A: Backend + 'static>(device: &Actor<Mote<A>>, mut datagram: Vec<u8>) {
    println!("receive {}", hex(&datagram));
    device.run(move |device| device.receive(0, &mut datagram).map(drop)).expect("authentic");
}

/// What the server answers; its store writes at once.
fn take<A: Backend + 'static>(server: &Actor<Gateway<A>>, datagram: Vec<u8>) -> Option<Vec<u8>> {
    let answer = server.run(move |server| match server.receive(0, 1, datagram) {
        Received::Pending(held, change) => {
            let committed = server.commit(held, change.committed()).expect("there is one store");
            committed.welcome.map(|(answer, _)| answer.as_bytes().to_vec())
        }
        Received::Data(data) => data.answer.map(|(answer, _)| answer.as_bytes().to_vec()),
        Received::Answered { answer, .. } => Some(answer.as_bytes().to_vec()),
        Received::Rejected { reason, .. } => panic!("{reason}"),
    });
    if let Some(answer) = &answer {
        println!("answer {}", hex(answer));
    }
    answer
}

fn boot<A: Backend>() -> Mote<A> {
    let keys = NorKeySlots::new(Flash, 0).expect("it fits");
    Device::boot(Parts::new(Counter(0), keys, Counting(3)), Config::default()).expect("the image is good")
}

fn serve<A: Backend>() -> Gateway<A> {
    Server::new(FixedTable::new(), Counting(1), GatewayId(0), Timing::DEFAULT, 0)
        .expect("the generator works")
}

fn read(directory: &Path, name: &str, len: usize) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(vec![0; len]);
    File::open(directory.join(name))
        .and_then(|mut file| file.read_exact(&mut bytes))
        .expect("it was written");
    bytes
}

/// As hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// A generator whose numbers everybody knows.
#[derive(Clone, Copy, Debug)]
pub struct Counting(pub u8);

/// What it gives where a rotation draws its 16 bytes.
pub const R0: u8 = 0xB7;

impl Entropy for Counting {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        if bytes.len() == 16 {
            bytes.fill(R0);
            return Ok(());
        }
        for byte in bytes {
            self.0 = self.0.wrapping_mul(5).wrapping_add(7);
            *byte = self.0;
        }
        Ok(())
    }
}

/// A boot counter in memory.
#[derive(Debug)]
pub struct Counter(u32);

impl BootCounter for Counter {
    fn load(&mut self) -> Result<Stored, StorageError> {
        Ok(Stored::Intact(self.0))
    }

    fn store(&mut self, boot: u32) -> Result<(), StorageError> {
        self.0 = boot;
        Ok(())
    }
}

/// The one flash.
#[derive(Clone, Copy, Debug)]
pub struct Flash;

impl ErrorType for Flash {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Flash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        let start = offset as usize;
        bytes.copy_from_slice(&FLASH.lock().expect("one thread")[start..start + bytes.len()]);
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
        FLASH.lock().expect("one thread")[from as usize..to as usize].fill(0xFF);
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        let start = offset as usize;
        FLASH.lock().expect("one thread")[start..start + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
}
