//! The memory of the QEMU machine that stands for each core, and how firmware is linked.

use std::{env, fs, path::PathBuf};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-check-cfg=cfg(little_memory)");
    let target = env::var("TARGET").unwrap_or_default();
    let (flash, ram) = match target.as_str() {
        "thumbv6m-none-eabi" => ("ORIGIN = 0x00000000, LENGTH = 256K", "ORIGIN = 0x20000000, LENGTH = 16K"),
        "thumbv7m-none-eabi" | "thumbv7em-none-eabi" => {
            ("ORIGIN = 0x00000000, LENGTH = 4M", "ORIGIN = 0x20000000, LENGTH = 4M")
        }
        "thumbv8m.main-none-eabi" => ("ORIGIN = 0x10000000, LENGTH = 4M", "ORIGIN = 0x38000000, LENGTH = 2M"),
        _ => return, // clippy and the like, for the host
    };
    if target == "thumbv6m-none-eabi" {
        println!("cargo:rustc-cfg=little_memory");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let memory = format!("MEMORY {{ FLASH : {flash}\n RAM : {ram} }}\n");
    fs::write(out.join("memory.x"), memory).expect("OUT_DIR can be written");
    println!("cargo:rustc-link-search={}", out.display());
    println!("cargo:rustc-link-arg-bins=-Tlink.x");
    println!("cargo:rustc-link-arg-bins=--nmagic");
    // To measure a firmware that can panic, or to look at it, it has to link.
    if env::var_os("CARGO_FEATURE_PANICS_LINK").is_some() {
        println!("cargo:rustc-link-arg-bins=--defsym=a_panic_is_reachable=0");
    }
}
