//! No secret of the protocol decides a branch or an address. Run by `check` under valgrind's memcheck, with all secrets
//! marked as never written: memcheck then flags every branch and every address that depends on one (the method of
//! ctgrind). Exits with 1 if a case is flagged more often than its verdicts, or a control is not.

mod aead;
mod controls;
mod device;
mod judged;
mod keys;
mod memcheck;
mod server;
mod stored;
mod table;
mod world;

use std::process::ExitCode;

use moteseal::aead::{Portable, Ring};

fn main() -> ExitCode {
    if !memcheck::is_watching() {
        eprintln!("memcheck is not watching: run constant-time/check");
        return ExitCode::from(2);
    }
    let mut table = table::Table::default();
    controls::run(&mut table);
    keys::run(&mut table);
    stored::run(&mut table);
    aead::run::<Portable>(&mut table, "portable");
    aead::run::<Ring>(&mut table, "ring");
    device::run::<Portable>(&mut table, "portable");
    device::run::<Ring>(&mut table, "ring");
    server::run::<Portable>(&mut table, "portable");
    server::run::<Ring>(&mut table, "ring");
    if table.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
