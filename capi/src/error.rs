//! The one enum of errors that C sees, their texts, and which error of the crate each stands for.

use core::ffi::CStr;

use moteseal::error::{
    BootError, CounterError, EntropyError, HelloError, IdentityError, ImageError, PollError, ProtectError,
    ReceiveError, ResetError, SendError, StorageError, VerifyError,
};

/// What a function returns: 0 if it worked. `moteseal_error_text` says what to do about the others.
/// 1 to 31: your program's fault; nothing happened. 32 to 63: your hardware's. 64 and more, from `moteseal_receive`
/// only: the network's or the server's; drop the datagram in silence.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// It worked.
    Ok = 0,
    /// A pointer that must not be NULL is NULL.
    NullPointer = 1,
    /// A pointer is not aligned for its type.
    Misaligned = 2,
    /// Two buffers overlap, or one overlaps the device, or a length reaches past the end of memory.
    Overlap = 3,
    /// The output buffer is shorter than `MOTESEAL_DATAGRAM_MAX`.
    BufferTooShort = 4,
    /// The device was never booted, or was wiped, or something has overwritten it.
    NotBooted = 5,
    /// The device is booted already, or its memory was not zero.
    InUse = 6,
    /// This is a copy of a device.
    Copied = 7,
    /// The device is in a call: a callback calls back, or two threads or interrupts use it.
    Reentered = 8,
    /// The library was built for other sizes than your program was compiled with.
    WrongBuild = 9,
    /// The payload is empty.
    Empty = 10,
    /// The payload is longer than `MOTESEAL_PAYLOAD_MAX`.
    TooLong = 11,
    /// One payload is outstanding or waits.
    Busy = 12,
    /// An error that has no number of its own.
    Other = 31,

    /// The flash could not be read.
    FlashRead = 32,
    /// The flash could not be written or erased.
    FlashWrite = 33,
    /// The flash read back other than written.
    FlashVerify = 34,
    /// The first page of the partition is erased.
    ImageBlank = 35,
    /// The first page of the partition holds something else than a factory image.
    ImageMagic = 36,
    /// The factory image, or a key slot, is of a format or suite that this library does not know.
    ImageVersion = 37,
    /// The factory image is damaged.
    ImageDamaged = 38,
    /// Neither key slot holds an intact key, or the one that is wanted does not.
    ImageNoKey = 39,
    /// The keys in the two slots do not belong together.
    ImageKeys = 40,
    /// The boot counter is at its end.
    CounterUsedUp = 41,
    /// The boot counter is blank or broken, and there is no generator.
    CounterLost = 42,
    /// The generator failed.
    RandomFailed = 43,
    /// The generator gave all zeros or all ones.
    RandomStuck = 44,

    /// Not a datagram of this protocol and version.
    NotMoteseal = 64,
    /// A datagram for servers, or one that nothing here waits for.
    Unexpected = 65,
    /// The tag does not verify: forged, damaged, or for somebody else.
    Inauthentic = 66,
    /// It came before, or is too old to tell.
    Replayed = 67,
    /// It is authentic, and makes no sense: a fault in the server.
    Malformed = 68,
}

/// Each error with its text: what is the matter, and what to do.
const TEXTS: &[(Error, &CStr)] = &[
    (Error::Ok, c"it worked"),
    (Error::NullPointer, c"a pointer is NULL that must not be, or a flash callback is missing: set it"),
    (Error::Misaligned, c"a pointer is not aligned: declare the variable with its own type, not as bytes"),
    (
        Error::Overlap,
        c"buffers overlap or reach past the end of memory: give each one its own, outside the device",
    ),
    (Error::BufferTooShort, c"the output buffer is too short: give it MOTESEAL_DATAGRAM_MAX bytes"),
    (Error::NotBooted, c"the device is not booted: call moteseal_boot first, and again after moteseal_wipe"),
    (
        Error::InUse,
        c"the memory of the device is not blank: zero it before the first boot, wipe it before another",
    ),
    (Error::Copied, c"this is a copy of a device: use the original by pointer, and wipe the copy"),
    (Error::Reentered, c"the device is in a call: use it from one thread, and not from its own callbacks"),
    (
        Error::WrongBuild,
        c"library and program differ in MOTESEAL_DATAGRAM_MAX, _FLASH_PAGE or _FLASH_WORD: build both alike",
    ),
    (Error::Empty, c"an empty payload is never delivered: to ask for a sign of life, call moteseal_connect"),
    (Error::TooLong, c"the payload is too long: split it, or build with a larger MOTESEAL_DATAGRAM_MAX"),
    (
        Error::Busy,
        c"one payload is outstanding: poll, and send this one when its outcome is told, or withdraw it",
    ),
    (Error::Other, c"an error without a number here: build header and library from one version"),
    (Error::FlashRead, c"the flash could not be read: check the callback, the wiring and the partition"),
    (
        Error::FlashWrite,
        c"the flash could not be written: check the callback, and that the partition is writable",
    ),
    (
        Error::FlashVerify,
        c"the flash read back other than written: check its sizes; it is worn out or protected",
    ),
    (Error::ImageBlank, c"the partition is erased: flash the factory image to its start"),
    (Error::ImageMagic, c"the partition holds no factory image: check its address, or flash the image"),
    (Error::ImageVersion, c"the factory image or a key is of a newer format: use firmware that knows it"),
    (Error::ImageDamaged, c"the factory image is damaged: flash it again"),
    (Error::ImageNoKey, c"there is no intact key: flash the factory image again, made for this erase size"),
    (Error::ImageKeys, c"the keys in the two slots do not belong together: provision the device anew"),
    (Error::CounterUsedUp, c"the boot counter is at its end: provision the device anew"),
    (Error::CounterLost, c"the boot counter is lost and there is no generator: provision the device anew"),
    (Error::RandomFailed, c"the generator failed: check that it is switched on; it is tried again"),
    (Error::RandomStuck, c"the generator gives all zeros or all ones: check its clock and power"),
    (Error::NotMoteseal, c"not a datagram of this protocol: drop it"),
    (Error::Unexpected, c"a datagram that nothing here waits for: drop it"),
    (Error::Inauthentic, c"the tag does not verify: drop it"),
    (Error::Replayed, c"it was received before: drop it"),
    (Error::Malformed, c"authentic and senseless: drop it, and tell whoever runs the server"),
];

/// The text of an error number.
pub(crate) fn text(error: u8) -> &'static CStr {
    let text = TEXTS.iter().find(|(known, _)| *known as u8 == error);
    text.map_or(c"no error of this library has this number", |(_, text)| text)
}

// None of these is inlined: several functions want each, and their jump tables are most of them.

impl From<StorageError> for Error {
    #[inline(never)]
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Read => Self::FlashRead,
            StorageError::Write => Self::FlashWrite,
            // A counter that is higher than a moment ago: somebody else writes there.
            StorageError::Verify | StorageError::Backwards => Self::FlashVerify,
            StorageError::Format => Self::ImageVersion,
            _ => Self::Other,
        }
    }
}

impl From<ImageError> for Error {
    #[inline(never)]
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::Blank => Self::ImageBlank,
            ImageError::Magic => Self::ImageMagic,
            ImageError::Version | ImageError::Suite | ImageError::Reserved => Self::ImageVersion,
            ImageError::Length | ImageError::Check | ImageError::Generation => Self::ImageDamaged,
            ImageError::NoKey => Self::ImageNoKey,
            ImageError::SameGeneration | ImageError::GenerationGap => Self::ImageKeys,
            _ => Self::Other,
        }
    }
}

impl From<IdentityError> for Error {
    #[inline(never)]
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::Storage(error) => error.into(),
            IdentityError::Image(error) => error.into(),
            _ => Self::Other,
        }
    }
}

impl From<CounterError> for Error {
    #[inline(never)]
    fn from(error: CounterError) -> Self {
        match error {
            CounterError::Storage(error) => error.into(),
            CounterError::UsedUp => Self::CounterUsedUp,
            _ => Self::Other,
        }
    }
}

impl From<EntropyError> for Error {
    #[inline(never)]
    fn from(error: EntropyError) -> Self {
        match error {
            EntropyError::Failed => Self::RandomFailed,
            EntropyError::Stuck => Self::RandomStuck,
            _ => Self::Other,
        }
    }
}

impl From<BootError> for Error {
    #[inline(never)]
    fn from(error: BootError) -> Self {
        match error {
            BootError::Identity(error) => error.into(),
            BootError::Storage(error) => error.into(),
            BootError::Counter(error) => error.into(),
            BootError::CounterLost => Self::CounterLost,
            _ => Self::Other,
        }
    }
}

impl From<HelloError> for Error {
    #[inline(never)]
    fn from(error: HelloError) -> Self {
        match error {
            HelloError::Storage(error) => error.into(),
            HelloError::Counter(error) => error.into(),
            HelloError::Entropy(error) => error.into(),
            HelloError::KeyMissing => Self::ImageNoKey,
            _ => Self::Other,
        }
    }
}

impl From<SendError> for Error {
    #[inline(never)]
    fn from(error: SendError) -> Self {
        match error {
            SendError::Hello(error) => error.into(),
            SendError::Empty => Self::Empty,
            SendError::TooLong => Self::TooLong,
            SendError::Busy => Self::Busy,
            SendError::BufferTooShort => Self::BufferTooShort,
            _ => Self::Other,
        }
    }
}

impl From<PollError> for Error {
    #[inline(never)]
    fn from(error: PollError) -> Self {
        match error {
            PollError::Hello(error) => error.into(),
            PollError::BufferTooShort => Self::BufferTooShort,
            _ => Self::Other,
        }
    }
}

impl From<ProtectError> for Error {
    #[inline(never)]
    fn from(error: ProtectError) -> Self {
        match error {
            ProtectError::BufferTooShort => Self::BufferTooShort,
            _ => Self::Other,
        }
    }
}

impl From<ReceiveError> for Error {
    #[inline(never)]
    fn from(error: ReceiveError) -> Self {
        match error {
            ReceiveError::Parse(_) => Self::NotMoteseal,
            ReceiveError::Verify(VerifyError::Inauthentic) | ReceiveError::Reset(ResetError::Inauthentic) => {
                Self::Inauthentic
            }
            ReceiveError::Verify(VerifyError::Replayed | VerifyError::TooOld) => Self::Replayed,
            ReceiveError::Verify(VerifyError::Malformed(_))
            | ReceiveError::InvalidConnectionId(_)
            | ReceiveError::FloorTooHigh => Self::Malformed,
            ReceiveError::Storage(error) => error.into(),
            ReceiveError::Counter(error) => error.into(),
            ReceiveError::Identity(error) => error.into(),
            ReceiveError::KeyMissing => Self::ImageNoKey,
            ReceiveError::Reset(_)
            | ReceiveError::ForServer
            | ReceiveError::NoHello
            | ReceiveError::EchoMismatch
            | ReceiveError::NoSession
            | ReceiveError::UnknownConnection
            | ReceiveError::HelloOutstanding => Self::Unexpected,
            _ => Self::Other,
        }
    }
}
