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
    }
}

error! {
    /// What the caller's random number generator did not do.
    EntropyError {
        Failed => "the random number generator failed; nothing was sent that needed it",
        Stuck => "the random number generator gave all zeros or all ones; it is not running",
    }
}
