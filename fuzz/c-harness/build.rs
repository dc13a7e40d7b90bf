//! Compiles the C program against the header as it is, every warning an error.

fn main() {
    println!("cargo::rerun-if-changed=src/harness.c");
    println!("cargo::rerun-if-changed=../../capi/include/moteseal.h");
    let mut build = cc::Build::new();
    build.file("src/harness.c").include("../../capi/include").std("c99");
    build.extra_warnings(true).warnings_into_errors(true).flag("-pedantic").compile("moteseal_harness");
}
