//! The memory of one device: what state it is in, and lending its contents to one call at a time.
//!
//! ```text
//! blank (zero) --boot--> ready <--> busy (in a call)
//!      ^                   |
//!      +------wipe---------+
//! ```
//!
//! It knows its own address: a copy elsewhere would use the same nonces, and is refused.

use core::cell::Cell;
use core::mem::{MaybeUninit, offset_of};
use core::ops::{Deref, DerefMut};

use zeroize::Zeroize;

use crate::error::Error;
use crate::hardware::Callbacks;
use crate::sizes::DATAGRAM_MAX;
use crate::types::Device;

/// What the crate calls a device.
pub(crate) type Inner = moteseal::device::Device<Callbacks, DATAGRAM_MAX>;

/// What is in a `moteseal_device`.
#[repr(C)]
struct Memory {
    head: Head,
    inner: MaybeUninit<Inner>,
}

/// The part that calls look at before they may touch the rest.
#[repr(C)]
struct Head {
    state: Cell<u32>,
    home: Cell<usize>,
}

const _: () = {
    assert!(size_of::<Memory>() <= size_of::<Device>(), "the header reserves too little");
    assert!(align_of::<Memory>() <= align_of::<Device>(), "the header aligns too little");
    assert!(offset_of!(Memory, head) == 0, "the head of a device is where it begins");
};

const BLANK: u32 = 0;
const READY: u32 = u32::from_be_bytes(*b"Mote");
const BUSY: u32 = u32::from_be_bytes(*b"seal");

impl Head {
    /// The head of a device, which may be in any state.
    ///
    /// # Safety
    /// `device` is NULL or points to a `moteseal_device` for as long as the reference lives.
    unsafe fn of<'a>(device: *const Device) -> Result<&'a Self, Error> {
        if !device.is_aligned() {
            return Err(Error::Misaligned);
        }
        // SAFETY: NULL or aligned, and any bytes are a head. Only heads, all shared, ever cover these bytes.
        unsafe { device.cast::<Self>().as_ref() }.ok_or(Error::NullPointer)
    }

    fn is_at_home(&self) -> bool {
        self.home.get() == core::ptr::from_ref(self).addr()
    }

    fn settle_down(&self) {
        self.home.set(core::ptr::from_ref(self).addr());
    }

    /// Fails unless the device was booted, is where it was booted, and is not in a call.
    fn check_ready(&self) -> Result<(), Error> {
        match self.state.get() {
            READY | BUSY if !self.is_at_home() => Err(Error::Copied),
            READY => Ok(()),
            BUSY => Err(Error::Reentered),
            _ => Err(Error::NotBooted),
        }
    }
}

/// Where the crate's device is.
fn inner(device: *const Device) -> *mut MaybeUninit<Inner> {
    device.cast_mut().wrapping_byte_add(offset_of!(Memory, inner)).cast()
}

/// A booted device, lent to one call. While it lives, every other call with this device is an error.
pub(crate) struct Claim<'a> {
    head: &'a Head,
    inner: &'a mut Inner,
}

impl Claim<'_> {
    /// Lends the device.
    ///
    /// # Safety
    /// `device` is NULL or points to a `moteseal_device`, until the claim is dropped.
    pub(crate) unsafe fn new(device: *mut Device) -> Result<Self, Error> {
        // SAFETY: the caller's promise.
        let head = unsafe { Head::of(device)? };
        head.check_ready()?;
        head.state.set(BUSY);
        // SAFETY: it was ready, so it is initialised, and it is busy now, so nobody else gets here.
        let inner = unsafe { (*inner(device)).assume_init_mut() };
        Ok(Self { head, inner })
    }
}

impl Deref for Claim<'_> {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        self.inner
    }
}

impl DerefMut for Claim<'_> {
    fn deref_mut(&mut self) -> &mut Inner {
        self.inner
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.head.state.set(READY);
    }
}

/// Looks at a device without claiming it, for what calls nobody back.
///
/// # Safety
/// `device` is NULL or points to a `moteseal_device` that no other call uses while the reference lives.
pub(crate) unsafe fn look<'a>(device: *const Device) -> Result<&'a Inner, Error> {
    // SAFETY: the caller's promise.
    unsafe { Head::of(device)? }.check_ready()?;
    // SAFETY: it is ready, so it is initialised and nobody has it.
    Ok(unsafe { (*inner(device)).assume_init_ref() })
}

/// Puts what `boot` makes into blank memory. If it fails, the memory is blank again.
///
/// # Safety
/// As for [`Claim::new`].
pub(crate) unsafe fn settle(
    device: *mut Device,
    boot: impl FnOnce() -> Result<Inner, Error>,
) -> Result<(), Error> {
    // SAFETY: the caller's promise.
    let head = unsafe { Head::of(device)? };
    if head.state.get() != BLANK {
        return Err(Error::InUse);
    }
    // Callbacks run: whoever calls back finds it busy.
    head.settle_down();
    head.state.set(BUSY);
    let booted = boot();
    head.state.set(if booted.is_ok() { READY } else { BLANK });
    // SAFETY: there is room for it, as asserted above, and it was busy, so nobody else uses it.
    unsafe { (*inner(device)).write(booted?) };
    Ok(())
}

/// Makes the memory of a device, or of a copy of one, blank again.
///
/// # Safety
/// As for [`Claim::new`].
pub(crate) unsafe fn wipe(device: *mut Device) -> Result<(), Error> {
    // SAFETY: the caller's promise.
    let head = unsafe { Head::of(device)? };
    match head.state.get() {
        BUSY if head.is_at_home() => return Err(Error::Reentered),
        BLANK | READY | BUSY => {}
        _ => return Err(Error::NotBooted),
    }
    let bytes = device.cast::<MaybeUninit<u8>>();
    // SAFETY: `device` points to as many bytes, no call is using them, and the head is not looked at any more.
    let bytes = unsafe { core::slice::from_raw_parts_mut(bytes, size_of::<Device>()) };
    // Its keys would do no more when dropped.
    bytes.zeroize();
    // The ciphers have left copies there.
    moteseal::scrub::stack();
    Ok(())
}
