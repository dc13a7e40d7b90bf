#!/usr/bin/env python3
"""A wrong tag costs a Cortex-M the same number of instructions wherever it is wrong: in byte 0, 7, 15, or in every bit.

  forgeries.py        M4 at 3 and s, M0 at 3
  forgeries.py --all  M3 and M33 besides, at both

Counted in QEMU, whole calls: Welcome, Floor, Data and Reset on the device, Hello and Data on the server. Exits 1 if a
count differs, or if those of the control, a comparison that stops at the first wrong byte, do not."""

import sys

import firmware
import measure

# At s a server on its way into its place does not fit the 16 KiB of QEMU's M0.
SHORT = (("M4", "3"), ("M4", "s"), ("M0", "3"))
DEEP = (("M3", "3"), ("M3", "s"), ("M33", "3"), ("M33", "s"))
EXPECTED = {
    "device/welcome", "device/floor", "device/data/1", "device/data/64", "server/hello",
    "server/data/candidate", "server/data/1", "server/data/64", "server/data/without-counters", "device/reset",
}  # fmt: skip


def main() -> int:
    if not set(sys.argv[1:]) <= {"--all"}:
        print(__doc__)
        return 2
    faults = []
    for name, flavour in SHORT + DEEP if "--all" in sys.argv else SHORT:
        faults += check(firmware.CORES[name], flavour)
    for fault in faults:
        print("FAULT", fault)
    return int(bool(faults))


def check(core: firmware.Core, flavour: str) -> list[str]:
    firmware.build(core, flavour, ["forgeries"])
    lines = [line.split() for line in measure.run(core, flavour, "forgeries").splitlines()]
    found = {name: [measure.instructions(core, int(ticks)) for ticks in counts] for name, *counts in lines}
    print(f"{core.name} at {flavour}: instructions for a tag that is wrong in byte 0, 7, 15, in every bit")
    for name, counts in found.items():
        print(f"  {name:30}" + "".join(f"{count:9,}" for count in counts))
    where = f"{core.name} at {flavour}"
    early = found.pop("control")
    faults = [] if len(set(early[:3])) == 3 else [f"{where}: the control costs {early}, and is not told apart"]
    faults += [f"{where}: {name} was not counted" for name in sorted(EXPECTED - found.keys())]
    return faults + [f"{where}: {name} costs {counts}" for name, counts in found.items() if len(set(counts)) > 1]


if __name__ == "__main__":
    sys.exit(main())
