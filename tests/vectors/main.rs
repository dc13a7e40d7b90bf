//! The crate against `test-vectors/`, which a program that shares no code with it has made. Every field that a file
//! has is read and compared: a field that is not known here fails the test, and so does an empty list.

mod file;
mod keys;
mod numbers;

mod windows;
