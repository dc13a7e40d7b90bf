//! Every error of the crate and nothing else: small `Copy` enums, one for each verb, kept apart by whose fault
//! it is. SPEC section 3 and the sections that each error names.

use core::fmt;

/// Declares an error: its variants are documented once, and the text is what `Display` shows.
macro_rules! error {
    ($(#[$doc:meta])* $name:ident { $($variant:ident => $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $(#[doc = $text] $variant,)+
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $text,)+ })
            }
        }

        impl core::error::Error for $name {}
    };
}

error! {
    /// What the caller's flash or other storage did not do.
    StorageError {
        Read => "the storage could not be read; check the wiring and the address",
        Write => "the storage could not be written or erased; nothing was sent that needed it",
        Verify => "the storage read back other than written; it is worn out or write-protected",
        Backwards => "the boot counter holds a higher number; store only what is above the number loaded",
        Format => "a key slot is intact but of another format or suite; run firmware that knows it",
    }
}

error! {
    /// Why a region of flash cannot be used.
    RegionError {
        Misaligned => "the region must start at a multiple of the flash's erase size",
        OutOfRange => "the region ends behind the end of the flash",
    }
}

error! {
    /// What is wrong with a factory image.
    ImageError {
        Length => "a factory image has exactly 192 bytes; this one was truncated or is another file",
        Blank => "the identity is erased; flash the factory image first",
        Magic => "the magic is not that of a factory image; this is other data",
        Version => "the format version is unknown; use the firmware or program that made the image",
        Check => "the check value of the identity does not match; flash the factory image again",
        Suite => "the suite is unknown; this version knows suite 1 only",
        Reserved => "a reserved byte is not zero; the image was made by something newer",
        Generation => "a key slot says generation 0; the first is 1",
        NoKey => "neither slot holds an intact device key; flash the factory image again",
        SameGeneration => "both key slots hold the same generation; one must be erased",
        GenerationGap => "the generations of the two key slots do not follow each other; one must be erased",
    }
}

/// Why the identity of a device could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IdentityError {
    /// The storage failed.
    Storage(StorageError),
    /// The storage works, but what it holds is no identity.
    Image(ImageError),
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Storage(error) => error.fmt(f),
            Self::Image(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for IdentityError {}

impl From<StorageError> for IdentityError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl From<ImageError> for IdentityError {
    fn from(error: ImageError) -> Self {
        Self::Image(error)
    }
}

error! {
    /// What the caller's random number generator did not do.
    EntropyError {
        Failed => "the random number generator failed; nothing was sent that needed it",
        Stuck => "the random number generator gave all zeros or all ones; it is not running",
    }
}
