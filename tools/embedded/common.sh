# Which Rust compiles for the embedded targets: the one on PATH where it has them, otherwise Debian's with a private
# sysroot. Owns where that sysroot lies and how it is made. Sourced by `setup`, `cargo` and `rustc`.
# shellcheck shell=bash

# Not the caller's to set: nothing below depends on where it is called from.
unset CDPATH

# The targets that the project is built for.
# shellcheck disable=SC2034 # read by those who source this
TARGETS=(thumbv6m-none-eabi thumbv7m-none-eabi thumbv7em-none-eabi thumbv8m.main-none-eabi riscv32imc-unknown-none-elf)

DEBIAN_RUSTC=/usr/bin/rustc
DEBIAN_MINOR=91 # the oldest 1.x of Debian's that will do

die() {
    printf 'tools/embedded: %s\n' "$*" >&2
    exit 1
}

# MOTESEAL_RUST=debian forces the fallback.
forced() {
    case "${MOTESEAL_RUST:-}" in
    debian) true ;;
    "") false ;;
    *) die "MOTESEAL_RUST is '$MOTESEAL_RUST': only 'debian' means something" ;;
    esac
}

# Whether the Rust on PATH has each of these targets.
on_path_has() {
    local target libdir
    for target; do
        libdir=$(rustc --print target-libdir --target "$target" 2>/dev/null) || return
        compgen -G "$libdir/libcore-*.rlib" >/dev/null || return
    done
}

# Whether Debian's Rust is there, new enough, and with its source.
debian_rust() {
    local release
    [[ -x $DEBIAN_RUSTC && -f $(debian_library)/core/Cargo.toml ]] || return
    release=$("$DEBIAN_RUSTC" -vV | sed -n 's/^release: 1\.\([0-9]*\)\..*/\1/p')
    ((${release:-0} >= DEBIAN_MINOR))
}

debian_library() {
    printf '%s/lib/rustlib/src/rust/library' "$("$DEBIAN_RUSTC" --print sysroot)"
}

# The value of a line of `rustc -vV`.
debian_version() {
    "$DEBIAN_RUSTC" -vV | sed -n "s/^$1: //p"
}

# Everything made for one version of Debian's Rust. Not below the repository: `cargo clean` and further clones would
# build it anew.
debian_cache() {
    local cache=${XDG_CACHE_HOME:-${HOME:?}/.cache}
    printf '%s/moteseal/rust-%s-%s' "$cache" "$(debian_version release)" "$(debian_version commit-hash)"
}

# rustup's rust-lld, or the lld of the LLVM that Debian's Rust is made with: the same program.
lld() {
    local host candidate
    host=$(debian_version host)
    for candidate in "$(rustc --print sysroot 2>/dev/null)/lib/rustlib/$host/bin/rust-lld" \
        "/usr/lib/llvm-$(debian_llvm)/bin/lld"; do
        if [[ -x $candidate ]]; then
            printf '%s' "$candidate"
            return
        fi
    done
    return 1
}

debian_llvm() {
    debian_version 'LLVM version' | cut -d. -f1
}

# Makes the sysroot without any embedded target: Debian's own for the host, and the linker where rustc looks for it.
# $1 is where these scripts lie. Prints the compiler's path: the version is in it, because cargo keeps what a path has
# said of itself.
make_sysroot() {
    local cache host rustlib
    cache=$(debian_cache)
    host=$(debian_version host)
    rustlib=$cache/sysroot/lib/rustlib
    mkdir -p "$rustlib/$host/bin"
    link "$("$DEBIAN_RUSTC" --print sysroot)/lib/rustlib/$host/lib" "$rustlib/$host/lib"
    link "$(lld)" "$rustlib/$host/bin/rust-lld"
    link "$1/rustc" "$cache/rustc"
    printf '%s' "$cache/rustc"
}

# A link that is right already is left alone: another compiler may be reading it.
link() {
    [[ $(readlink "$2") == "$1" ]] || ln -sfn "$1" "$2"
}

# Builds core, alloc and compiler_builtins of one target into the sysroot at $1, if they are not there. The bitcode in
# them is what fat LTO needs.
make_target() {
    local sysroot=$1 target=$2 build
    [[ ! -d $sysroot/lib/rustlib/$target ]] || return 0
    exec 9>"$sysroot/lock"
    flock 9
    if [[ ! -d $sysroot/lib/rustlib/$target ]]; then
        build=$(mktemp -d "$sysroot/build.XXXXXX")
        build_target "$build" "$target" || die "core for $target could not be built"
        mv "$build/rustlib" "$sysroot/lib/rustlib/$target"
        rm -rf "$build"
    fi
    exec 9>&-
}

# A package whose one dependency is Debian's alloc. It needs no network: the three crates depend on nothing else.
build_target() {
    local build=$1 target=$2
    mkdir -p "$build/src" "$build/rustlib/lib"
    : >"$build/src/lib.rs"
    cat >"$build/Cargo.toml" <<MANIFEST
[package]
name = "sysroot"
edition = "2024"

[dependencies]
alloc = { path = "$(debian_library)/alloc", features = ["compiler-builtins-mem"] }

[profile.release]
codegen-units = 1

[profile.release.package.compiler_builtins] # as Rust's own build has it: each intrinsic an object of its own
codegen-units = 10000
MANIFEST
    printf 'building core and alloc for %s, once\n' "$target" >&2
    (
        cd "$build"
        unset RUSTC_WRAPPER RUSTC_WORKSPACE_WRAPPER CARGO_BUILD_TARGET CARGO_ENCODED_RUSTFLAGS
        RUSTC_BOOTSTRAP=1 RUSTC=$DEBIAN_RUSTC RUSTFLAGS="-Cembed-bitcode=yes -Zforce-unstable-if-unmarked" \
            cargo build --quiet --offline --release --package alloc --target "$target" --target-dir "$build/target" >&2
    ) || return
    cp "$build/target/$target/release/deps/"lib{core,alloc,compiler_builtins}-*.rlib "$build/rustlib/lib/"
}
