//! Where code and data lie on the board that a target stands for, and that the linker is told.

use std::path::PathBuf;
use std::{env, fs};

/// The FPGA images AN385 and AN386 (Cortex-M3 and M4). The last MiB is left to the flash of the device.
const MPS2: &str = "MEMORY {
  FLASH : ORIGIN = 0x00000000, LENGTH = 3M
  RAM   : ORIGIN = 0x20000000, LENGTH = 4M
}
";

/// AN505 (Cortex-M33), by its secure addresses.
const MPS2_AN505: &str = "MEMORY {
  FLASH : ORIGIN = 0x10000000, LENGTH = 3M
  RAM   : ORIGIN = 0x38000000, LENGTH = 2M
}
";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(an505)");
    let target = env::var("TARGET").expect("cargo names the target");
    let is_an505 = target.starts_with("thumbv8m.main");
    if is_an505 {
        println!("cargo::rustc-cfg=an505");
    }
    if !target.starts_with("thumb") {
        return;
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo names the directory"));
    let memory = if is_an505 { MPS2_AN505 } else { MPS2 };
    fs::write(out.join("memory.x"), memory).expect("the linker script can be written");
    println!("cargo::rustc-link-search={}", out.display());
    for argument in ["-Tlink.x", "--nmagic"] {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
}
