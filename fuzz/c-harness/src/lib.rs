//! Runs the C program of `harness.c` on bytes, and plays the server for it: a real one, so that its device gets into
//! sessions. C sees nothing of the crate but the header.

use std::cell::RefCell;
use std::slice;
use std::sync::{Mutex, PoisonError};

use moteseal::boot_counter::entry;
use moteseal::delivery::Timing;
use moteseal::entropy::FromFn;
use moteseal::error::EntropyError;
use moteseal::identity::{FactoryImage, Identity};
use moteseal::keys::{DeviceKey, RotationKey};
use moteseal::number::{DeviceId, Generation};
use moteseal::record::{GatewayId, Record};
use moteseal::server::{CommandId, FixedTable, Index, Received, Server, Transmit};
use moteseal_capi::sizes::{FLASH_LEN, FLASH_PAGE};

const ID: DeviceId = DeviceId::new(*b"C device");

type Fill = fn(&mut [u8]) -> Result<(), EntropyError>;
type Half = Server<FixedTable<u8, 1, 300>, FromFn<Fill>>;

thread_local! {
    static SERVER: RefCell<Half> = RefCell::new(server());
    static STATE: RefCell<u64> = const { RefCell::new(1) };
}

unsafe extern "C" {
    fn moteseal_harness_run(bytes: *const u8, len: usize, image: *const u8, image_len: usize) -> i32;
}

#[expect(clippy::unnecessary_wraps, reason = "a generator may fail; this one does not")]
fn noise(bytes: &mut [u8]) -> Result<(), EntropyError> {
    STATE.with_borrow_mut(|state| {
        for byte in bytes {
            *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = state.to_be_bytes()[0];
        }
    });
    Ok(())
}

fn server() -> Half {
    let mut table = FixedTable::new();
    let inserted = table.insert(Record::provisioned(ID, Generation::FIRST, DeviceKey::new([1; 32])));
    assert!(inserted.is_ok(), "there is room");
    Server::new(table, FromFn(noise as Fill), GatewayId(0), Timing::DEFAULT, 0).expect("the generator works")
}

/// The flash of a device from the factory.
fn image() -> Vec<u8> {
    let identity = Identity { device_id: ID, rotation_key: RotationKey::new([2; 32]) };
    let mut flash = vec![0xFF; FLASH_LEN as usize];
    for (offset, part) in FactoryImage::new(identity, DeviceKey::new([1; 32])).parts(FLASH_PAGE) {
        flash[offset as usize..][..part.expose().len()].copy_from_slice(part.expose());
    }
    let counter = 3 * FLASH_PAGE as usize;
    flash[counter..][..8].copy_from_slice(&entry(0));
    flash
}

/// One life of a device in C.
///
/// # Panics
/// If an answer of the library was one that the header rules out.
pub fn run(bytes: &[u8]) {
    /// The program keeps its state in one place: one life at a time, whatever threads there are.
    static ONE_LIFE: Mutex<()> = Mutex::new(());
    let _alone = ONE_LIFE.lock().unwrap_or_else(PoisonError::into_inner);
    SERVER.with_borrow_mut(|half| *half = server());
    STATE.with_borrow_mut(|state| *state = 1);
    let image = image();
    // SAFETY: both are as long as is said, and only read; no other thread is in the program.
    let line = unsafe { moteseal_harness_run(bytes.as_ptr(), bytes.len(), image.as_ptr(), image.len()) };
    assert_eq!(line, 0, "harness.c:{line}: an answer that the header rules out");
}

/// A datagram of the device; gives the length of the answer.
///
/// # Safety
/// `datagram` points to `len` bytes and `answer` to memory for `size`.
#[unsafe(no_mangle)]
unsafe extern "C" fn moteseal_harness_server(
    datagram: *const u8,
    len: usize,
    now: u64,
    answer: *mut u8,
    size: usize,
) -> usize {
    // SAFETY: the caller's promise.
    let (datagram, answer) =
        unsafe { (slice::from_raw_parts(datagram, len), slice::from_raw_parts_mut(answer, size)) };
    SERVER.with_borrow_mut(|half| {
        let bytes = match half.receive(now, 0, datagram.to_vec()) {
            Received::Rejected { .. } => None,
            Received::Answered { answer, .. } => Some(answer.as_bytes().to_vec()),
            Received::Pending(held, change) => {
                let committed = half.commit(held, change.committed()).expect("nothing else is under way");
                committed.welcome.map(|(welcome, _)| welcome.as_bytes().to_vec())
            }
            Received::Data(data) => data.answer.map(|(answer, _)| answer.as_bytes().to_vec()),
        };
        put(answer, bytes.as_deref())
    })
}

/// A command to the device, or a repeat of the one before.
///
/// # Safety
/// `datagram` points to memory for `size` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn moteseal_harness_command(now: u64, len: u8, datagram: *mut u8, size: usize) -> usize {
    // SAFETY: the caller's promise.
    let datagram = unsafe { slice::from_raw_parts_mut(datagram, size) };
    let payload = vec![b'c'; len.into()];
    SERVER.with_borrow_mut(|half| {
        let Ok((sending, change)) = half.begin_command(ID, CommandId(1), payload.len()) else {
            let again = half.poll(now, Index(0)).map(|transmit| transmit.datagram.to_vec());
            return put(datagram, again.as_deref());
        };
        let sealed = half.seal_command(now, sending, &change.committed(), &payload);
        let sealed = sealed.ok().flatten().map(|Transmit { datagram, .. }| datagram.to_vec());
        put(datagram, sealed.as_deref())
    })
}

/// The bytes at the front of a buffer that C gave, if they fit.
fn put(buffer: &mut [u8], bytes: Option<&[u8]>) -> usize {
    let Some(bytes) = bytes.filter(|bytes| bytes.len() <= buffer.len()) else { return 0 };
    buffer[..bytes.len()].copy_from_slice(bytes);
    bytes.len()
}
