"""Measures one build: runs the counting firmware in QEMU, and reads flash, memory and panics of the others. Knows what
the figures mean, not what they should be."""

import subprocess

import firmware
import weight

# QEMU's -icount shift=7: so many nanoseconds of its clock for each instruction.
INSTRUCTION_NS = 128
# `loop` counts down from 200,000 with two instructions a round; what loads the number is one more, or two.
LOOP = range(400_000, 400_004)
HALVES = ("device", "server")
# The build of which it is told where the flash goes.
PROFILED = ("M4", "s")


class MeasureError(Exception):
    """A measurement that cannot be trusted, or a promise that a build breaks."""


def everything(core: firmware.Core, flavour: str) -> dict:
    """All figures of one build. Counting is left out for the flavour that is made for size alone."""
    figures = {"flash": flash(core, flavour), "panics": panics(core, flavour)}
    if (core.name, flavour) == PROFILED:
        figures["profile"] = profile(core, flavour)
    if flavour != "z":
        figures |= counts(core, flavour)
    return figures


def mode(core: firmware.Core, flavour: str) -> str:
    """How the halves are linked: strictly, unless they can panic."""
    return firmware.STRICT if firmware.links(core, flavour, HALVES) else firmware.LINKED


def flash(core: firmware.Core, flavour: str) -> dict[str, int]:
    """Bytes that each firmware has more than the one without the library."""
    firmware.build(core, flavour, ("nothing", "crypto"))
    halves = mode(core, flavour)
    firmware.build(core, flavour, HALVES, halves)
    nothing = firmware.read(core, flavour, "nothing").flash()
    sizes = {"nothing": nothing, "crypto": firmware.read(core, flavour, "crypto").flash() - nothing}
    for half in HALVES:
        sizes[half] = firmware.read(core, flavour, half, halves).flash() - nothing
    return sizes


def panics(core: firmware.Core, flavour: str) -> list[str]:
    """The halves that can panic or have a heap, with the symbols that show it."""
    halves = mode(core, flavour)
    found = []
    for half in HALVES:
        read = firmware.read(core, flavour, half, halves)
        found += [f"{half}: {name}" for name in read.panics() + read.heap()]
    return found


def profile(core: firmware.Core, flavour: str) -> dict[str, int]:
    """Bytes of the device's firmware by part; parts under 100 bytes are one."""
    parts = weight.by_part(firmware.path(core, flavour, "device", mode(core, flavour)))
    small = sum(size for size in parts.values() if size < 100)
    return {name: size for name, size in parts.items() if size >= 100} | {"all others": small}


def counts(core: firmware.Core, flavour: str) -> dict:
    """Instructions and stack of each operation, and the sizes of devices in memory."""
    firmware.build(core, flavour, ["count"])
    lines = [line.split() for line in run(core, flavour).splitlines()]
    ram = {name[5:]: int(size) for name, size in (line for line in lines if line[0].startswith("size/"))}
    static = firmware.read(core, flavour, "device", mode(core, flavour)).ram("DEVICE")
    if static != ram["128"]:
        raise MeasureError(f"a static device takes {static} bytes, and the firmware says {ram['128']}")
    ticks = {line[0]: [int(number) for number in line[1:]] for line in lines if not line[0].startswith("size/")}
    nothing = instructions(core, ticks.pop("nothing")[0])
    found = {name: [instructions(core, numbers[0]) - nothing, *numbers[1:]] for name, numbers in ticks.items()}
    verify(found)
    return {"counts": found, "ram": ram}


def verify(found: dict[str, list[int]]) -> None:
    """The method counts what is known right, and a forgery tells nothing of where it is wrong."""
    if found.pop("loop")[0] not in LOOP:
        raise MeasureError("a loop of 400,001 instructions was counted wrong: is this QEMU's -icount?")
    fewest, most = found.pop("forged/fewest")[0], found.pop("forged/most")[0]
    if fewest != most:
        raise MeasureError(f"a forgery costs {fewest} to {most} instructions, depending on which byte is wrong")


def instructions(core: firmware.Core, ticks: int) -> int:
    return round(ticks * core.tick_ns / INSTRUCTION_NS)


def run(core: firmware.Core, flavour: str, program: str = "count") -> str:
    command = ["qemu-system-arm", "-machine", core.machine, "-nographic", "-icount", "shift=7", "-monitor", "none"]
    command += ["-semihosting-config", "enable=on,target=native"]
    command += ["-kernel", str(firmware.path(core, flavour, program))]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
    # Semihosting writes to the standard error of QEMU.
    if done.returncode:
        raise MeasureError(f"{core.name} {flavour}: the firmware failed\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr
