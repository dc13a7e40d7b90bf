#!/usr/bin/env python3
"""Where the flash of the device's firmware goes: `weight.py [CORE] [FLAVOUR]`, by default `M4 s`. Each instruction counts for
the source that it was inlined from, by file for this library and by crate for the others. Knows objdump and addr2line, not
what is measured."""

import collections
import pathlib
import re
import subprocess
import sys

import elf
import firmware

INSTRUCTION = re.compile(r"\s*([0-9a-f]+):\t([0-9a-f ]+?)\s*\t")
CRATE = re.compile(rf"(?:{firmware.CRATES.pattern})(.+?)-\d+\.\d+\.\d+[^/]*/")


def by_part(program: pathlib.Path) -> dict[str, int]:
    """Bytes of code by part, and of constants."""
    addresses = list(instructions(program))
    parts: collections.Counter[str] = collections.Counter()
    for (_, length), source in zip(addresses, sources(program, [address for address, _ in addresses]), strict=True):
        parts[part(source)] += length
    parts["constants, vectors, literals, padding"] = elf.Elf(program).flash() - parts.total()
    return dict(parts.most_common())


def instructions(program: pathlib.Path):
    """Address and length of each instruction."""
    for line in run(["objdump", "-d", str(program)]).splitlines():
        if found := INSTRUCTION.match(line):
            yield found.group(1), len(found.group(2).replace(" ", "")) // 2


def sources(program: pathlib.Path, addresses: list[str]) -> list[str]:
    """The file of each address, of what was inlined there the innermost."""
    shown = run(["addr2line", "-a", "-i", "-e", str(program)], "\n".join(addresses))
    frames = re.split(r"^0x[0-9a-f]{8}\n", shown, flags=re.M)[1:]
    # What the standard library does is done for whoever called it; what another crate does is that crate's.
    return [next((frame for frame in frames.splitlines() if "/library/core/" not in frame), "") for frames in frames]


def part(source: str) -> str:
    ours, found = firmware.OURS.sub("", source), CRATE.match(source)
    if ours.startswith("src/"):
        return ours.rsplit(":", 1)[0]
    if ours.startswith("benches/"):
        return "the firmware around the library"
    if found:
        return found.group(1)
    return "compiler_builtins, core"


def run(command: list[str], text: str = "") -> str:
    tool, *arguments = command
    return subprocess.run([f"arm-none-eabi-{tool}", *arguments], input=text, capture_output=True, text=True, check=True).stdout


def main() -> int:
    core, flavour = (sys.argv[1:] + ["M4", "s"][len(sys.argv) - 1 :])[:2]
    found = firmware.CORES[core]
    mode = firmware.STRICT if firmware.links(found, flavour, ["device"]) else firmware.LINKED
    firmware.build(found, flavour, ["device"], mode)
    for name, size in by_part(firmware.path(found, flavour, "device", mode)).items():
        print(f"{size:6} {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
