//! The `moteseal` program.
fn main() {}
