#!/usr/bin/env python3
"""Where a firmware could panic, if it can: `panics.py [CORES] [FLAVOURS]`. Exits 1 if one of them can, or has a heap.
costs.py holds every build to this; here the places are told, and who comes there."""

import re
import sys

import firmware

HALVES = ("device", "server")


def places(core: firmware.Core, flavour: str, program: str) -> list[str]:
    """file:line:column of what could panic in a firmware that does not link, and the functions that call it."""
    firmware.build(core, flavour, [program], firmware.LOCATED)
    looked = firmware.read(core, flavour, program, firmware.LOCATED)
    panics = set(looked.panics())
    callers = {caller for caller, called in looked.calls().items() if called & panics and caller not in panics}
    return [shortened(place) for place in looked.panic_locations()] + [f"called by {name}" for name in sorted(callers)]


def shortened(place: str) -> str:
    """Without the directories of this machine."""
    for before in (firmware.OURS.pattern, firmware.CRATES.pattern, "^/rustc/[0-9a-f]*/"):
        place = re.sub(before, "", place)
    return place


def main() -> int:
    cores = sys.argv[1].split(",") if len(sys.argv) > 1 else firmware.CORES
    flavours = sys.argv[2].split(",") if len(sys.argv) > 2 else firmware.FLAVOURS
    failed = False
    for core in (firmware.CORES[name] for name in cores):
        for flavour in flavours:
            for program in HALVES:
                can = not firmware.links(core, flavour, [program])
                failed |= can
                print(f"{core.name} {flavour} {program}: {'can panic' if can else 'no panic'}", flush=True)
                for place in places(core, flavour, program) if can else ():
                    print("   ", place)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
