#!/usr/bin/env python3
"""What a complete device weighs in flash, quickly: `flash.py [CORES] [FLAVOURS]`, by default `flash.py M0,M4 s,z`.
The committed table is made by costs.py."""

import sys

import firmware


def main() -> int:
    cores = sys.argv[1].split(",") if len(sys.argv) > 1 else ["M0", "M4"]
    flavours = sys.argv[2].split(",") if len(sys.argv) > 2 else ["s", "z"]
    programs = ("nothing", "crypto", "device")
    print("| core | opt | nothing | + crypto | + device | largest functions of the device |\n|---|---|---|---|---|---|")
    for core in map(firmware.CORES.get, cores):
        for flavour in flavours:
            panics = not firmware.links(core, flavour, programs)
            mode = firmware.LINKED if panics else firmware.STRICT
            if panics:
                firmware.build(core, flavour, programs, mode)
            nothing, crypto, device = (firmware.read(core, flavour, program, mode) for program in programs)
            base = nothing.flash()
            mark = " (can panic)" if panics else ""
            largest = sorted((s.size, s.name) for s in device.functions().values())[::-1][:12]
            print(f"| {core.name} | {flavour} | {base} | {crypto.flash() - base} | {device.flash() - base}{mark} | "
                  + ", ".join(f"{size} `{name}`" for size, name in largest) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
