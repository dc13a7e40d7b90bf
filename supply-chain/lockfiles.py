#!/usr/bin/env python3
"""Whether each workspace has its lock file in the repository, and that file is what cargo would write. Prints each; exits 1 otherwise."""

import sys

import cargo


def main() -> int:
    faults = 0
    for manifest in cargo.workspaces():
        try:
            packages = cargo.metadata(manifest)["packages"]
        except cargo.CargoError as error:
            faults += 1
            print(error)
        else:
            print(f"{cargo.lock_of(manifest)}: current, {len(packages)} packages")
    return int(bool(faults))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except cargo.CargoError as fault:
        sys.exit(str(fault))
