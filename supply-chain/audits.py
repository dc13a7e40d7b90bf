#!/usr/bin/env python3
"""Whether audits.toml is of the code that is built: each crate at the version of every lock file that has it, each crate of a device
with a note, and what a note says is counted, counted again. Exits 1 otherwise."""

import pathlib
import sys
import tomllib

import cargo
import rust_source

NOTES = pathlib.Path(__file__).resolve().with_name("audits.toml")
# What runs on a device, with every feature that a device can have.
DEVICE = "-p moteseal -e normal --target thumbv7em-none-eabi --features embedded-storage".split()
# The tools of derives: they run in the compiler, and are everybody's.
TOOLS = {"proc-macro2", "quote", "syn", "unicode-ident"}
# Older generations that share a name, in tools of the Embassy example: see its deny.toml.
OTHERS = {("block-buffer", "0.10"), ("cpufeatures", "0.2"), ("crypto-common", "0.1"), ("digest", "0.10")}


def main() -> int:
    notes = {name: entries[0] for name, entries in tomllib.loads(NOTES.read_text(encoding="utf-8"))["audits"].items()}
    faults = missing(notes)
    counted: set[str] = set()
    for manifest in cargo.workspaces():
        for package in cargo.metadata(manifest)["packages"]:
            name, version = package["name"], package["version"]
            if name not in notes or tuple(cargo.Crate(name, version).listed().split()) in OTHERS:
                continue
            if version != notes[name]["version"]:
                faults.append(f"{name}: {cargo.lock_of(manifest)} has {version}, the note is of {notes[name]['version']}")
            elif name not in counted:
                faults += compared(package, notes[name]["notes"])
            counted.add(name)
    faults += [f"{name}: in no lock file" for name in sorted(notes.keys() - counted)]
    for fault in faults:
        print(f"audits.toml: {fault}")
    if not faults:
        print(f"audits.toml: {len(notes)} crates at the versions of the lock files, counted anew")
    return int(bool(faults))


def missing(notes: dict) -> list[str]:
    names = {crate.name for crate in cargo.tree(DEVICE)} - TOOLS
    return [f"{name}: runs on a device and has no note" for name in sorted(names - notes.keys())]


def compared(package: dict, note: str) -> list[str]:
    proc_macro = any("proc-macro" in target["kind"] for target in package["targets"])
    facts = rust_source.facts(pathlib.Path(package["manifest_path"]).parent, proc_macro)
    said = note.strip().splitlines()[0]
    return [] if said == f"Counted: {facts}." else [f"{package['name']}: the note says '{said}', there are: {facts}"]


if __name__ == "__main__":
    sys.exit(main())
