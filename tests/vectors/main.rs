//! The crate against `test-vectors/`, which a program that shares no code with it has made. Every field that a file
//! has is read and compared: a field that is not known here fails the test, and so does an empty list.

#![expect(clippy::struct_field_names, reason = "the fields have the names that they have in the files")]

mod answers;
mod data;
mod file;
mod hello;
mod keys;
mod masked;
mod negative;
mod numbers;
mod sealed;
mod server;
mod windows;

/// Makes tests of functions that are generic over the AEAD backend: one for each backend that is there.
macro_rules! with_each_backend {
    ($($test:ident),+ $(,)?) => {
        mod portable {
            $(#[test] fn $test() { super::$test::<moteseal::aead::Portable>(); })+
        }
        #[cfg(feature = "ring")]
        mod ring {
            $(#[test] fn $test() { super::$test::<moteseal::aead::Ring>(); })+
        }
    };
}
use with_each_backend;
