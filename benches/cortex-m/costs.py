#!/usr/bin/env python3
"""The costs of a device on Cortex-M: builds, measures, and holds every figure to costs.json.

  costs.py            the builds that CI checks: M4 and M0 at 3, s and z
  costs.py --all      every core
  costs.py M4 M33     these cores
  costs.py --update   measures all and writes costs.json, COSTS.md and the README's table anew
  costs.py --rendered checks that COSTS.md and the README say what costs.json says; builds nothing

Exits 1 if a figure has grown, a budget that was met is broken, or a half of the library can panic or has a heap."""

import json
import pathlib
import sys

import budgets
import firmware
import measure
import table

ROOT = pathlib.Path(__file__).resolve().parent
COSTS = ROOT / "costs.json"
CHECKED_CORES = ("M4", "M0")
# How far a figure may grow unnoticed: a share of it, and a few tens, since the layout of a firmware moves a count by some
# 45 instructions. Bytes of stack come in steps of registers saved, flash in steps of alignment.
SHARE = 0.01
# Of a compiler that the table does not know.
SHARE_UNKNOWN = 0.10
LEAST = {"instructions": 48, "stack": 16, "flash": 16, "ram": 0}


def main() -> int:
    chosen = [argument for argument in sys.argv[1:] if argument in firmware.CORES]
    if not set(sys.argv[1:]) <= {"--all", "--update", "--rendered", *chosen}:
        print(__doc__)
        return 2
    if "--rendered" in sys.argv:
        return table.check(recorded())
    everything = "--all" in sys.argv or "--update" in sys.argv
    figures = measured(firmware.CORES if everything else chosen or CHECKED_CORES)
    version = firmware.read(firmware.CORES[next(iter(figures))], "3", "nothing").compiler()
    if "--update" in sys.argv:
        costs = {**recorded(), version: figures}
        COSTS.write_text(json.dumps(costs, indent=1, sort_keys=True) + "\n", encoding="ascii")
        table.write(costs)
        report(figures)
        return 0
    faults = compare(version, figures) + promises(figures)
    report(figures)
    for fault in faults:
        print("FAULT", fault)
    return int(bool(faults)) | table.check(recorded())


def recorded() -> dict:
    return json.loads(COSTS.read_text(encoding="ascii")) if COSTS.exists() else {}


def measured(cores) -> dict:
    figures = {}
    for core in cores:
        for flavour in firmware.FLAVOURS:
            print(f"measuring {core} at {flavour}", flush=True)
            figures.setdefault(core, {})[flavour] = measure.everything(firmware.CORES[core], flavour)
    return figures


def compare(version: str, figures: dict) -> list[str]:
    """The figures that have grown since the table was written, and the budgets that were met then."""
    costs = recorded()
    nearest = min(costs, key=lambda other: distance(version, other))
    share = SHARE if nearest == version else SHARE_UNKNOWN
    if nearest != version:
        print(f"rustc {version} is not in the table: held to {nearest}, within {share:.0%}")
    faults = []
    for core, flavours in figures.items():
        for flavour, build in flavours.items():
            before = costs[nearest][core][flavour]
            faults += [f"{core} at {flavour}: {fault}" for fault in grown(before, build, share)]
    met = {judged.name for judged in budgets.judge(costs[nearest]) if judged.met}
    broken = [judged for judged in budgets.judge(figures) if not judged.met and judged.name in met]
    return faults + [f"{judged.name}: {judged.value} is over the budget of {judged.limit}" for judged in broken]


def grown(before: dict, now: dict, share: float) -> list[str]:
    faults, old, new = [], flat(before), flat(now)
    for missing in sorted(old.keys() - new.keys()):
        faults.append(f"{missing} was not measured")
    for name, value in sorted(new.items()):
        least = LEAST[name.split()[0]]
        if name not in old:
            faults.append(f"{name} is not in the table: run costs.py --update")
        elif value > old[name] + max(share * old[name], least):
            faults.append(f"{name} grew from {old[name]} to {value}")
    return faults


def flat(build: dict) -> dict[str, int]:
    """All figures of a build that are held to the table, by name."""
    found = {f"flash {name}": size for name, size in build["flash"].items()}
    found |= {f"ram {name}": size for name, size in build.get("ram", {}).items()}
    for name, (instructions, stack) in build.get("counts", {}).items():
        found |= {f"instructions {name}": instructions, f"stack {name}": stack}
    return found


def promises(figures: dict) -> list[str]:
    """No half can panic at 3 and s, and none has a heap: this is not held to a table. At z so little is inlined that the
    compiler does not see the bounds that hold."""
    faults = []
    for core, flavours in figures.items():
        for flavour, build in flavours.items():
            if flavour == "z":
                continue
            faults += [f"{core} at {flavour}: reachable in {name}" for name in build["panics"]]
    if faults:
        print("panics.py tells the places")
    return faults


def report(figures: dict) -> None:
    for judged in budgets.judge(figures):
        print("met   " if judged.met else "MISSED", f"{judged.name}: {judged.value}, budget {judged.limit}")


def distance(version: str, other: str) -> int:
    """How far apart two compilers are, in releases."""
    (major, minor), (other_major, other_minor) = table.release(version), table.release(other)
    return abs(major - other_major) * 1000 + abs(minor - other_minor)


if __name__ == "__main__":
    sys.exit(main())
