//! Writes the linker script from `src/layout.rs`: the program cannot grow over the keys.

use std::env;
use std::fs;
use std::path::PathBuf;

#[path = "src/layout.rs"]
mod layout;

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("memory.x"), memory_x()).expect("the directory is cargo's, for this");
    println!("cargo::rustc-link-search={}", out.display());
    for argument in ["--nmagic", "-Tlink.x", "-Tdefmt.x"] {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/layout.rs");
}

/// What `cortex-m-rt` and the boot ROM of the RP2350 want: the image definition of `embassy-rp` (`.start_block`) lies
/// in the first 4 KiB, right behind the vector table.
fn memory_x() -> String {
    let (start, program, region) = (layout::FLASH_START, layout::FACTORY, layout::PAGES * layout::PAGE_LEN);
    format!(
        "MEMORY {{
    FLASH : ORIGIN = {start:#x}, LENGTH = {program:#x}
    /* The factory image and the boot counter: {region:#x} bytes from {key:#x} on. */
    RAM : ORIGIN = 0x20000000, LENGTH = 512K
}}
SECTIONS {{
    .start_block : ALIGN(4) {{ KEEP(*(.start_block)); }} > FLASH
}} INSERT AFTER .vector_table;
_stext = ADDR(.start_block) + SIZEOF(.start_block);
",
        key = start + program,
    )
}
