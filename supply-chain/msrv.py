#!/usr/bin/env python3
"""Whether the oldest Rust that each package names is old enough for what it depends on, by what the crates say of themselves. Exits 1
otherwise. `supply-chain/msrv` compiles with these compilers."""

import sys

import cargo


def main() -> int:
    faults = []
    for manifest in cargo.workspaces():
        data = cargo.metadata(manifest)
        wanted = {(package["name"], package["version"]): package["rust_version"] for package in data["packages"]}
        for package in data["packages"]:
            if package["id"] not in data["workspace_members"]:
                continue
            if not package["rust_version"]:
                print(f"{package['name']}: names no oldest Rust")
                continue
            faults += newer(manifest, package, wanted)
    for fault in faults:
        print(fault)
    return int(bool(faults))


def newer(manifest: str, package: dict, wanted: dict) -> list[str]:
    """The crates of a package, for any target and with all features, that want a newer Rust than it says."""
    arguments = ["--manifest-path", manifest, "-p", package["name"], "-e", "normal,build", "--target", "all", "--all-features"]
    crates = cargo.tree(arguments)
    oldest = number(package["rust_version"])
    faults = [
        f"{package['name']} says {package['rust_version']}, {crate.name} {crate.version} wants {wanted[crate]}"
        for crate in sorted(crates)
        if wanted[crate] and number(wanted[crate]) > oldest
    ]
    newest = max((wanted[crate] for crate in crates if wanted[crate]), key=number, default="none")
    if not faults:
        print(f"{package['name']}: {package['rust_version']}, and of {len(crates)} crates none wants more than {newest}")
    return faults


def number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])


if __name__ == "__main__":
    sys.exit(main())
