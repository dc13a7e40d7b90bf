//! The functions of the header as C calls them, against the crate's server half.

mod board;
mod lifecycle;
mod misuse;
mod sequences;
mod session;
mod site;
mod texts;
