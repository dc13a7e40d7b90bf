"""Writes costs.json for people: COSTS.md beside it, and the table of the README. Both say nothing else than it does,
which a check holds them to."""

import pathlib

import budgets
import energy
import firmware

ROOT = pathlib.Path(__file__).resolve().parent
COSTS = ROOT / "COSTS.md"
README = ROOT.parent.parent / "README.md"
BEGIN, END = "<!-- costs of Cortex-M: begin -->\n", "<!-- costs of Cortex-M: end -->\n"

OPERATIONS = {
    "device/boot/1024": "boot, counter and keys on pages of 1 KiB",
    "device/boot/4096": "boot, counter and keys on pages of 4 KiB",
    "device/hello/16": "Hello made, with 16 bytes",
    "device/welcome": "Welcome accepted, keys set up",
    "device/command/16": "command of 16 bytes taken",
    "device/acknowledge": "its acknowledgement made",
    "device/rotate": "*rotate* taken, new key in flash",
    "device/close": "close",
    "device/drop": "dropped, and the stack wiped",
    "reject/version": "dropped: a version that is none",
    "reject/short": "dropped: too short",
    "reject/connection": "dropped: another's connection id",
    "reject/replay": "dropped: a replay of 64 bytes",
    "reject/tag": "dropped: a wrong tag over 64 bytes",
    "raw/hkdf": "(raw HKDF-Expand to a session's two keys)",
}
# Where a figure of the library stands beside one of the raw cipher over as many bytes. What the server sends, and what
# asks for an acknowledgement, has an acknowledgement block of three bytes before the payload.
BESIDE = {
    "session/protect": ("protect", "raw/seal", 0),
    "session/verify": ("verify", "raw/open", 0),
    "device/send": ("`Device::send`", "raw/seal", 0),
    "device/send-confirmed": ("the same, kept for repeats", "raw/seal", 3),
    "device/receive": ("`Device::receive`", "raw/open", 3),
}
LENGTHS = (0, 16, 64, 256, 1024)
COUNTED = ("3", "s")


def check(costs: dict) -> int:
    """1 if COSTS.md or the README say something else than costs.json."""
    stale = [path.name for path, text in rendered(costs).items() if path.read_text(encoding="utf-8") != text]
    for name in stale:
        print(f"FAULT {name} does not say what costs.json says: run costs.py --update")
    return int(bool(stale))


def write(costs: dict) -> None:
    for path, text in rendered(costs).items():
        path.write_text(text, encoding="utf-8")


def rendered(costs: dict) -> dict[pathlib.Path, str]:
    before, rest = README.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    return {COSTS: document(costs), README: before + BEGIN + summary(costs) + END + after}


def release(version: str) -> tuple[int, int]:
    """1.95.0 as numbers that can be compared."""
    major, minor = version.split("-")[0].split(".")[:2]
    return int(major), int(minor)


def document(costs: dict) -> str:
    parts = ["# Costs on Cortex-M\n\nMade by `costs.py --update` from [costs.json](costs.json); [README.md](README.md) "
             "says what is counted and how. Instructions, not cycles; bytes.\n"]
    for version in sorted(costs, key=release, reverse=True):
        figures = costs[version]
        parts.append(f"\n## rustc {version}\n\n### Budgets\n\n{budget_table(figures)}")
        for flavour in COUNTED:
            title = f"### {firmware.FLAVOURS[flavour].meaning}"
            parts.append(f"\n{title}: instructions\n\n{operations(figures, flavour)}")
            parts.append(f"\n{title}: instructions beside the raw cipher's\n\n{beside(figures, flavour)}")
            parts.append(f"\n{title}: stack\n\n{stacks(figures, flavour)}")
        parts.append(f"\n### Memory of a device\n\n{memory(figures)}")
        parts.append(f"\n### Flash, more than the same firmware without the library\n\n{flash(figures)}")
        parts.append(f"\n### Where the flash of the device's firmware goes, M4 at s\n\n{profile(figures)}")
        parts.append(f"\n### Energy: a worked example\n\n{energy.example(figures['M4']['3'])}")
    return "".join(parts)


def summary(costs: dict) -> str:
    """The table of the README: the newest compiler's, the options 3 and s side by side."""
    version = max(costs, key=release)
    figures = costs[version]
    names = list(firmware.CORES)

    def both(name, column=0):
        return [" / ".join(number(figures[c][f]["counts"][name][column]) for f in COUNTED) for c in names]

    def ratios(ours, raw):
        return [" / ".join(f"{ratio(figures[c][f], ours, raw):.2f}" for f in COUNTED) for c in names]

    lines = [
        ["protect 64 bytes"] + both("session/protect/64"),
        ["over the raw cipher"] + ratios("session/protect/64", "raw/seal/64"),
        ["verify 64 bytes"] + both("session/verify/64"),
        ["over the raw cipher"] + ratios("session/verify/64", "raw/open/64"),
        ["boot, flash pages of 1 KiB"] + both("device/boot/1024"),
        ["Hello made"] + both("device/hello/16"),
        ["Welcome accepted"] + both("device/welcome"),
        ["forgery of 64 bytes dropped"] + both("reject/tag"),
        ["stack at the deepest, bytes"] + [" / ".join(number(deepest(figures[c][f])) for f in COUNTED) for c in names],
        ["flash, bytes"] + [" / ".join(number(figures[c][f]["flash"]["device"]) for f in COUNTED) for c in names],
        ["flash of the raw primitives alone"] + [" / ".join(number(figures[c][f]["flash"]["crypto"]) for f in COUNTED) for c in names],
        ["memory, without the buffer"] + [number(figures[c]["s"]["ram"]["0"]) for c in names],
    ]
    return rows(["`opt-level` 3 / s"] + [f"Cortex-{name}" for name in names], lines) + f"\nThese are of rustc {version}.\n"


def budget_table(figures: dict) -> str:
    lines = [[j.core, j.flavour, j.what, number(j.limit), number(j.value), "met" if j.met else "**missed**"]
             for j in budgets.judge(figures)]
    return rows(["core", "option", "what", "budget", "figure", ""], lines)


def operations(figures: dict, flavour: str) -> str:
    lines = []
    for name, meaning in OPERATIONS.items():
        counts = [figures[core][flavour]["counts"].get(name) for core in firmware.CORES]
        lines.append([meaning] + [number(count[0]) if count else "" for count in counts])
    return rows(["operation", *firmware.CORES], lines)


def beside(figures: dict, flavour: str) -> str:
    lines = []
    for prefix, (meaning, raw, extra) in BESIDE.items():
        for length in LENGTHS:
            line = [f"{meaning}, {number(length)}"]
            for core in firmware.CORES:
                build, name = figures[core][flavour], f"{prefix}/{length}"
                if name in build["counts"]:
                    share = ratio(build, name, f"{raw}/{length + extra}")
                    line += [number(build["counts"][name][0]), f"{share:.2f}"]
                else:
                    line += ["", ""]
            if any(line[1:]):
                lines.append(line)
    head = [column for core in firmware.CORES for column in (core, "ratio")]
    return rows(["payload, bytes", *head], lines)


def stacks(figures: dict, flavour: str) -> str:
    names = {name: meaning for name, meaning in OPERATIONS.items() if name.startswith("device/")}
    names |= {"device/send/64": "`Device::send`, 64", "device/receive/64": "`Device::receive`, 64",
              "raw/seal/64": "(the raw cipher seals 64)"}
    lines = []
    for name, meaning in names.items():
        counts = [figures[core][flavour]["counts"].get(name) for core in firmware.CORES]
        lines.append([meaning] + [number(count[1]) if count else "" for count in counts])
    lines.append(["**deepest of a device**"] + [number(deepest(figures[core][flavour])) for core in firmware.CORES])
    return rows(["operation", *firmware.CORES], lines)


def memory(figures: dict) -> str:
    lines = [[f"{buffer} bytes"] + [number(figures[core]["s"]["ram"][buffer]) for core in firmware.CORES]
             for buffer in ("0", "64", "128")]
    return rows(["buffer", *firmware.CORES], lines)


def flash(figures: dict) -> str:
    kinds = {"device": "device half", "crypto": "raw ChaCha20-Poly1305 and HKDF alone", "server": "server half"}
    lines = [[firmware.FLAVOURS[flavour].meaning, meaning]
             + [number(figures[core][flavour]["flash"][kind]) for core in firmware.CORES]
             for flavour in firmware.FLAVOURS for kind, meaning in kinds.items()]
    return rows(["options", "what", *firmware.CORES], lines)


def profile(figures: dict) -> str:
    return rows(["source", "bytes"], [[name, number(size)] for name, size in
                                        sorted(figures["M4"]["s"]["profile"].items(), key=lambda item: (-item[1], item[0]))])


def deepest(build: dict) -> int:
    return max(numbers[1] for name, numbers in build["counts"].items() if name.startswith("device/"))


def ratio(build: dict, ours: str, raw: str) -> float:
    return build["counts"][ours][0] / build["counts"][raw][0]


def number(value: float) -> str:
    return f"{value:,}"


def rows(head: list[str], lines: list[list[str]]) -> str:
    return "".join(f"| {' | '.join(line)} |\n" for line in [head, ["---"] * len(head), *lines])
