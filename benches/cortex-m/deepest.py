#!/usr/bin/env python3
"""Which calls are deepest on the stack of the device's firmware: `deepest.py [CORE] [FLAVOUR]`, by default `M4 3`. Read from
the code, so it is a bound over all paths; what operations really use is measured by `count`. Not for the M0, whose
prologues take long frames from a literal."""

import sys

import firmware
import measure

PATHS = 6


def paths(frames: dict[str, int], calls: dict[str, set[str]], name: str, above: tuple[str, ...] = ()):
    """Each path of calls from `name` to a function that calls nothing more, with its bytes of stack."""
    below = [called for called in calls.get(name, ()) if called not in above and called != name]
    if not below:
        yield frames[name], (*above, name)
    for called in below:
        for depth, path in paths(frames, calls, called, (*above, name)):
            yield depth + frames[name], path


def main() -> int:
    core, flavour = (sys.argv[1:] + ["M4", "3"][len(sys.argv) - 1 :])[:2]
    found = firmware.CORES[core]
    mode = measure.mode(found, flavour)
    firmware.build(found, flavour, ["device"], mode)
    read = firmware.read(found, flavour, "device", mode)
    frames, shown = read.frames(), set()
    for depth, path in sorted(paths(frames, read.calls(), "device::run"), reverse=True):
        # One path through each of the deepest callees of the loop.
        if path[1:2] not in shown and len(shown) < PATHS:
            shown.add(path[1:2])
            print(depth, "bytes:", " > ".join(f"{name} {frames[name]}" for name in path))
    print("largest frames:", ", ".join(f"{name} {size}" for size, name in
                                       sorted(((size, name) for name, size in frames.items()), reverse=True)[:12]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
