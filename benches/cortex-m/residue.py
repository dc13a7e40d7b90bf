#!/usr/bin/env python3
"""Builds the firmware whose memory residue/check searches, and tells a line for each: name, machine of QEMU's, path.

  residue.py        M0 and M4, at 3 and s
  residue.py --all  M3 and z besides
"""

import sys

import firmware


def main() -> int:
    if not set(sys.argv[1:]) <= {"--all"}:
        print(__doc__, file=sys.stderr)
        return 2
    is_long = "--all" in sys.argv
    for name in ("M0", "M3", "M4") if is_long else ("M0", "M4"):
        core = firmware.CORES[name]
        for flavour in "3sz" if is_long else "3s":
            firmware.build(core, flavour, ["residue"])
            # The M0 of QEMU's has no memory beside its RAM that can be written: this M3 has, and runs the same code.
            machine = "mps2-an385" if name == "M0" else core.machine
            print(f"{name}/{flavour} {machine} {firmware.path(core, flavour, 'residue')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
