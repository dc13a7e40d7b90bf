//! Compiles the client requests of valgrind, which are C macros.

fn main() {
    println!("cargo::rerun-if-changed=src/shim.c");
    cc::Build::new().file("src/shim.c").compile("shim");
}
