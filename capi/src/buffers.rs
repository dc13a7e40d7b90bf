//! Pointers and lengths from C as slices and outputs: not NULL, aligned, no longer than memory, and apart from each
//! other and from the device. What remains the caller's promise is that the memory is there.

use crate::error::Error;
use crate::sizes::DATAGRAM_MAX;
use crate::types::Device;

/// Fails if the two ranges share a byte, or one of them wraps around the end of memory. Not inlined, for the sake of flash.
#[inline(never)]
pub(crate) fn apart<A, B>(a: *const A, a_len: usize, b: *const B, b_len: usize) -> Result<(), Error> {
    let (a, b) = (a.addr(), b.addr());
    match (end(a, a_len), end(b, b_len)) {
        (Some(a_end), Some(b_end)) if a_end <= b || b_end <= a => Ok(()),
        _ => Err(Error::Overlap),
    }
}

fn end(start: usize, len: usize) -> Option<usize> {
    start.checked_add(len).filter(|_| isize::try_from(len).is_ok())
}

/// Fails if a result would be written into a buffer of the same call.
pub(crate) fn beside<T>(output: *const T, bytes: *const u8, len: usize) -> Result<(), Error> {
    apart(output, size_of::<T>(), bytes, len)
}

/// A struct that is only read.
///
/// # Safety
/// `value` is NULL or points to a `T` that nobody writes while the reference lives.
pub(crate) unsafe fn shared<'a, T>(value: *const T) -> Result<&'a T, Error> {
    if !value.is_aligned() {
        return Err(Error::Misaligned);
    }
    // SAFETY: aligned, the rest by the caller's promise.
    unsafe { value.as_ref() }.ok_or(Error::NullPointer)
}

/// Where a result goes.
pub(crate) struct Output<T>(*mut T);

impl<T> Output<T> {
    /// Checks the pointer, and says `nothing` there for now.
    ///
    /// # Safety
    /// `output` is NULL or points to memory for a `T` that may be written until the call returns.
    pub(crate) unsafe fn new(device: *const Device, output: *mut T, nothing: T) -> Result<Self, Error> {
        check_output(device, output.cast(), size_of::<T>(), align_of::<T>())?;
        // SAFETY: checked above, the rest by the caller's promise.
        unsafe { output.write(nothing) };
        Ok(Self(output))
    }

    /// Says `value` instead.
    pub(crate) fn put(self, value: T) {
        // SAFETY: checked in `new`, and promised there until the call returns.
        unsafe { self.0.write(value) };
    }
}

/// What all outputs have in common; not inlined, for each kind of them would have its own copy.
#[inline(never)]
fn check_output(device: *const Device, output: *const u8, len: usize, align: usize) -> Result<(), Error> {
    if output.is_null() {
        return Err(Error::NullPointer);
    }
    if !output.addr().is_multiple_of(align) {
        return Err(Error::Misaligned);
    }
    apart(device, size_of::<Device>(), output, len)
}

/// Bytes that are only read.
///
/// # Safety
/// `bytes` is NULL or points to `len` bytes, if that is not longer than memory. Nobody writes them while the slice lives.
pub(crate) unsafe fn input<'a>(
    device: *const Device,
    bytes: *const u8,
    len: usize,
) -> Result<&'a [u8], Error> {
    if bytes.is_null() {
        return Err(Error::NullPointer);
    }
    apart(device, size_of::<Device>(), bytes, len)?;
    // SAFETY: checked above, the rest by the caller's promise.
    Ok(unsafe { core::slice::from_raw_parts(bytes, len) })
}

/// Bytes that are written or changed. They must hold something, whatever it is: C memory does.
///
/// # Safety
/// `bytes` is NULL or points to `len` bytes, if that is not longer than memory. Nobody else uses them while the slice
/// lives.
pub(crate) unsafe fn in_place<'a>(
    device: *const Device,
    bytes: *mut u8,
    len: usize,
) -> Result<&'a mut [u8], Error> {
    if bytes.is_null() {
        return Err(Error::NullPointer);
    }
    apart(device, size_of::<Device>(), bytes, len)?;
    // SAFETY: checked above, the rest by the caller's promise.
    Ok(unsafe { core::slice::from_raw_parts_mut(bytes, len) })
}

/// A buffer for a datagram. One that is too short for some datagram is refused at once, not when that one is due.
///
/// # Safety
/// As for [`in_place`].
pub(crate) unsafe fn out<'a>(
    device: *const Device,
    bytes: *mut u8,
    size: usize,
) -> Result<&'a mut [u8], Error> {
    if size < DATAGRAM_MAX {
        return Err(Error::BufferTooShort);
    }
    // SAFETY: the caller's promise.
    unsafe { in_place(device, bytes, size) }
}
