//! A device as C has it: blank memory, callbacks over simulated flash, and the functions of the header behind methods
//! that keep to their contract. What breaks the contract is in `misuse`.

use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::rc::Rc;

use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};
use moteseal_capi::api::*;
use moteseal_capi::error::Error;
use moteseal_capi::sizes::{DATAGRAM_MAX, FLASH_LEN, FLASH_PAGE, FLASH_WORD};
use moteseal_capi::types::{Closed, Config, Device, Epoch, Outcome, Received, Sent};
use moteseal_sim::nor::Nor;

pub type Flash = Nor<{ FLASH_WORD as usize }, { FLASH_PAGE as usize }>;

/// What the generator does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rng {
    Works,
    Fails,
    Gives(u8),
}

/// What the callbacks get as their context. Each calls back with the device in `meanwhile` first, if there is one; with
/// `once`, only the first.
pub struct Hardware {
    pub flash: RefCell<Flash>,
    pub rng: Cell<Rng>,
    pub meanwhile: Cell<Option<*mut Device>>,
    pub once: Cell<bool>,
    pub answers: RefCell<Vec<Error>>,
}

/// The memory of a device, which is C's: only ever a pointer, so that calls within calls use the same one.
pub struct Memory(NonNull<Device>);

impl Memory {
    fn blank() -> Self {
        Self(NonNull::from(Box::leak(Box::new(MaybeUninit::<Device>::zeroed()))).cast())
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: it was leaked above.
        drop(unsafe { Box::from_raw(self.0.as_ptr().cast::<MaybeUninit<Device>>()) });
    }
}

/// A device: memory at a fixed address, and its hardware, which survives a reboot.
pub struct Mote {
    memory: Memory,
    pub hardware: Rc<Hardware>,
}

pub type Answer<T> = Result<T, Error>;

fn answer<T>(error: Error, value: T) -> Answer<T> {
    if error == Error::Ok { Ok(value) } else { Err(error) }
}

impl Hardware {
    pub fn new(flash: Vec<u8>) -> Rc<Self> {
        assert_eq!(flash.len(), FLASH_LEN as usize);
        Rc::new(Self {
            flash: RefCell::new(Flash::from_bytes(flash)),
            rng: Cell::new(Rng::Works),
            meanwhile: Cell::new(None),
            once: Cell::new(false),
            answers: RefCell::default(),
        })
    }

    pub fn config(&self) -> Config {
        Config {
            datagram_max: u32::try_from(DATAGRAM_MAX).unwrap(),
            flash_page: FLASH_PAGE,
            flash_word: FLASH_WORD,
            context: ptr::from_ref(self).cast_mut().cast(),
            flash_read: Some(read),
            flash_write: Some(write),
            flash_erase: Some(erase),
            random: Some(random),
            answer_timeout_ms: 2_000,
            hello_cap_ms: 600_000,
            confirm_after_ms: 600_000,
            command_age_ms: 600_000,
            confirm_every: 64,
            repeats: 4,
            refuse_old: 0,
        }
    }

    fn call_back(&self) {
        let Some(device) = self.meanwhile.get() else { return };
        if self.once.get() {
            self.meanwhile.set(None);
        }
        let answers = call_everything(device, self);
        self.answers.borrow_mut().extend(answers);
    }
}

/// What each function answers, in the order of the header.
pub fn call_everything(device: *mut Device, hardware: &Hardware) -> Vec<Error> {
    let (mut out, mut datagram) = ([0; DATAGRAM_MAX], [0; 40]);
    let (mut sent, mut closed, mut received) = (Sent::default(), Closed::default(), MaybeUninit::uninit());
    let (mut len, mut deadline, mut outcome, mut id) = (0, 0, Outcome::None, [0; 8]);
    let (mut boot, mut open, mut epoch) = (0, 0, Epoch::default());
    // SAFETY: each pointer is NULL or points to what the header asks for, and `device` is the caller's to give.
    unsafe {
        vec![
            moteseal_boot(device, &hardware.config()),
            moteseal_wipe(device),
            moteseal_send(device, 0, b"x".as_ptr(), 1, 0, out.as_mut_ptr(), out.len(), &raw mut sent),
            moteseal_receive(device, 0, datagram.as_mut_ptr(), datagram.len(), received.as_mut_ptr()),
            moteseal_poll(device, 0, out.as_mut_ptr(), out.len(), &raw mut len),
            moteseal_deadline(device, &raw mut deadline),
            moteseal_connect(device, 0),
            moteseal_withdraw(device, 0, 1, &raw mut outcome),
            moteseal_close(device, 0, out.as_mut_ptr(), out.len(), &raw mut closed),
            moteseal_device_id(device, id.as_mut_ptr()),
            moteseal_boot_count(device, &raw mut boot),
            moteseal_session(device, &raw mut open, &raw mut epoch),
        ]
    }
}

/// The hardware that a callback was given.
fn hardware<'a>(context: *mut c_void) -> &'a Hardware {
    // SAFETY: `config` puts it there, and a mote keeps it as long as its memory.
    let hardware = unsafe { &*context.cast::<Hardware>() };
    hardware.call_back();
    hardware
}

unsafe extern "C" fn read(context: *mut c_void, offset: u32, bytes: *mut u8, len: usize) -> c_int {
    // SAFETY: the library gives a buffer of `len` bytes.
    let bytes = unsafe { std::slice::from_raw_parts_mut(bytes, len) };
    assert!(offset.is_multiple_of(FLASH_WORD) && len.is_multiple_of(FLASH_WORD as usize));
    c_int::from(hardware(context).flash.borrow_mut().read(offset, bytes).is_err())
}

unsafe extern "C" fn write(context: *mut c_void, offset: u32, bytes: *const u8, len: usize) -> c_int {
    // SAFETY: the library gives a buffer of `len` bytes.
    let bytes = unsafe { std::slice::from_raw_parts(bytes, len) };
    // Whatever is not 0 is a failure.
    -c_int::from(hardware(context).flash.borrow_mut().write(offset, bytes).is_err())
}

unsafe extern "C" fn erase(context: *mut c_void, offset: u32, len: usize) -> c_int {
    assert_eq!(len, FLASH_PAGE as usize);
    0x100 * c_int::from(hardware(context).flash.borrow_mut().erase(offset, offset + FLASH_PAGE).is_err())
}

unsafe extern "C" fn random(context: *mut c_void, bytes: *mut u8, len: usize) -> c_int {
    // SAFETY: the library gives a buffer of `len` bytes.
    let bytes = unsafe { std::slice::from_raw_parts_mut(bytes, len) };
    match hardware(context).rng.get() {
        Rng::Works => getrandom::fill(bytes).unwrap(),
        Rng::Fails => return 1,
        Rng::Gives(byte) => bytes.fill(byte),
    }
    0
}

/// A blank device on its hardware.
pub fn blank(flash: Vec<u8>) -> Mote {
    Mote { memory: Memory::blank(), hardware: Hardware::new(flash) }
}

/// A booted one.
pub fn booted(flash: Vec<u8>) -> Mote {
    let mut mote = blank(flash);
    mote.boot().unwrap();
    mote
}

impl Mote {
    pub const fn device(&mut self) -> *mut Device {
        self.memory.0.as_ptr()
    }

    pub fn boot(&mut self) -> Answer<()> {
        let config = self.hardware.config();
        self.boot_with(&config)
    }

    pub fn boot_with(&mut self, config: &Config) -> Answer<()> {
        // SAFETY: zeroed memory, and callbacks that keep to the header.
        answer(unsafe { moteseal_boot(self.device(), config) }, ())
    }

    /// Power goes, and comes back.
    pub fn reboot(&mut self) -> Answer<()> {
        // SAFETY: it is there, and no call is using it.
        unsafe { self.device().write_bytes(0, 1) };
        self.hardware.flash.borrow_mut().power_on();
        self.boot()
    }

    pub fn check(&self) -> Answer<[u8; 8]> {
        let mut id = [0; 8];
        // SAFETY: 8 bytes, and callbacks that keep to the header.
        answer(unsafe { moteseal_check(&self.hardware.config(), id.as_mut_ptr()) }, id)
    }

    pub fn wipe(&mut self) -> Answer<()> {
        // SAFETY: the memory of a device.
        answer(unsafe { moteseal_wipe(self.device()) }, ())
    }

    /// The ticket, 0 for none, and the datagram, empty for none.
    pub fn send(&mut self, now: u64, payload: &[u8], confirm: bool) -> Answer<(u16, Vec<u8>)> {
        let (mut out, mut sent) = (vec![0; DATAGRAM_MAX], Sent { datagram_len: 99, ticket: 99 });
        let (at, len) = (payload.as_ptr(), payload.len());
        // SAFETY: the buffers are as long as said.
        let error = unsafe {
            let out = out.as_mut_ptr();
            moteseal_send(self.device(), now, at, len, confirm.into(), out, DATAGRAM_MAX, &raw mut sent)
        };
        if error != Error::Ok {
            assert_eq!(sent, Sent::default(), "an error says that nothing was sent");
        }
        out.truncate(sent.datagram_len);
        answer(error, (sent.ticket, out))
    }

    /// What came of it, and the payload.
    pub fn receive(&mut self, now: u64, datagram: &[u8]) -> (Error, Received, Option<Vec<u8>>) {
        let mut datagram = datagram.to_vec();
        let (mut received, len) = (MaybeUninit::uninit(), datagram.len());
        // SAFETY: the buffer is as long as said, and the result is filled in whatever happens.
        let (error, received) = unsafe {
            let datagram = datagram.as_mut_ptr();
            let error = moteseal_receive(self.device(), now, datagram, len, received.as_mut_ptr());
            (error, received.assume_init())
        };
        let payload = (!received.payload.is_null()).then(|| {
            let start = received.payload.addr() - datagram.as_ptr().addr();
            datagram[start..][..received.payload_len].to_vec()
        });
        (error, received, payload)
    }

    pub fn poll(&mut self, now: u64) -> Answer<Vec<u8>> {
        let (mut out, mut len) = (vec![0; DATAGRAM_MAX], 99);
        // SAFETY: the buffer is as long as said.
        let error =
            unsafe { moteseal_poll(self.device(), now, out.as_mut_ptr(), DATAGRAM_MAX, &raw mut len) };
        assert!(error == Error::Ok || len == 0, "an error says that nothing is due");
        out.truncate(len);
        answer(error, out)
    }

    /// Whatever is due.
    pub fn drain(&mut self, now: u64) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| Some(self.poll(now).unwrap()).filter(|datagram| !datagram.is_empty())).collect()
    }

    pub fn deadline(&mut self) -> Answer<u64> {
        let mut deadline = 99;
        // SAFETY: a place for a number.
        answer(unsafe { moteseal_deadline(self.device(), &raw mut deadline) }, deadline)
    }

    pub fn connect(&mut self, now: u64) -> Answer<()> {
        // SAFETY: the memory of a device.
        answer(unsafe { moteseal_connect(self.device(), now) }, ())
    }

    pub fn withdraw(&mut self, now: u64, ticket: u16) -> Answer<Outcome> {
        let mut outcome = Outcome::Unsent;
        // SAFETY: a place for an outcome.
        answer(unsafe { moteseal_withdraw(self.device(), now, ticket, &raw mut outcome) }, outcome)
    }

    pub fn close(&mut self, now: u64) -> Answer<(Closed, Vec<u8>)> {
        let (mut out, mut closed) = (vec![0; DATAGRAM_MAX], Closed::default());
        // SAFETY: the buffer is as long as said.
        let error =
            unsafe { moteseal_close(self.device(), now, out.as_mut_ptr(), DATAGRAM_MAX, &raw mut closed) };
        out.truncate(closed.datagram_len);
        answer(error, (closed, out))
    }

    pub fn device_id(&mut self) -> Answer<[u8; 8]> {
        let mut id = [0; 8];
        // SAFETY: 8 bytes.
        answer(unsafe { moteseal_device_id(self.device(), id.as_mut_ptr()) }, id)
    }

    pub fn boot_count(&mut self) -> Answer<u32> {
        let mut boot = 99;
        // SAFETY: a place for a number.
        answer(unsafe { moteseal_boot_count(self.device(), &raw mut boot) }, boot)
    }

    pub fn session(&mut self) -> Answer<Option<Epoch>> {
        let (mut open, mut epoch) = (99, Epoch::default());
        // SAFETY: places for both.
        let error = unsafe { moteseal_session(self.device(), &raw mut open, &raw mut epoch) };
        answer(error, (open == 1).then_some(epoch))
    }
}
