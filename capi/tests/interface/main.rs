//! The functions of the header as C calls them, against the crate's server half.

mod board;
mod lifecycle;
mod misuse;
mod session;
mod site;
mod texts;
