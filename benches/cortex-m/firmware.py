"""Builds the firmwares of this bench: for which core, with which options, by which compiler. Knows cargo, not what is
measured."""

import os
import pathlib
import re
import subprocess
import typing

import elf

ROOT = pathlib.Path(__file__).resolve().parent
REPOSITORY = ROOT.parent.parent
# What stands before a file of the repository, and before one of a crate, in what a compiler tells. The names are those of
# tools/embedded/placeless; the paths, those of a plain cargo.
OURS = re.compile(rf"^(?:{re.escape(str(REPOSITORY))}|/moteseal)/")
CRATES = re.compile(r"^(?:.*/registry/src/[^/]+|/registry)/")
COMPACT = ["--cfg", 'sha2_backend_soft="compact"']


class Core(typing.NamedTuple):
    name: str
    target: str
    machine: str
    tick_ns: float


class Flavour(typing.NamedTuple):
    profile: str
    compact: bool
    meaning: str


CORES = {
    core.name: core
    for core in (
        Core("M0", "thumbv6m-none-eabi", "microbit", 62.5),
        Core("M3", "thumbv7m-none-eabi", "mps2-an385", 40),
        Core("M4", "thumbv7em-none-eabi", "mps2-an386", 40),
        Core("M33", "thumbv8m.main-none-eabi", "mps2-an505", 50),
    )
}
FLAVOURS = {
    "3": Flavour("release", False, "opt-level 3, SHA-256 unrolled"),
    "s": Flavour("small", True, "opt-level s, compact SHA-256"),
    "z": Flavour("smallest", True, "opt-level z, compact SHA-256"),
}
# What becomes of a firmware that can panic: it does not link; it does, for its size; it keeps the places, for a look.
STRICT, LINKED, LOCATED = "", "panics-link", "locate-panics"
PROGRAMS = ("nothing", "crypto", "device", "server", "count")


class BuildError(Exception):
    """Why a firmware did not link or compile."""


def cargo() -> str:
    """The cargo to build with: that of CARGO, else the project's for embedded targets, else the one on the path."""
    wrapper = REPOSITORY / "tools" / "embedded" / "cargo"
    return os.environ.get("CARGO") or (str(wrapper) if wrapper.exists() else "cargo")


def build(core: Core, flavour: str, programs: typing.Iterable[str], panics: str = STRICT) -> None:
    profile, compact, _ = FLAVOURS[flavour]
    command = [cargo(), "build", "--quiet", "--locked", "--profile", profile, "--target", core.target]
    command += [argument for program in programs for argument in ("--bin", program)]
    if panics:
        command += ["--features", panics]
    if compact:
        flags = ", ".join(f"'{flag}'" for flag in COMPACT)
        command += ["--config", f"target.{core.target}.rustflags=[{flags}]"]
    environment = {**os.environ, "CARGO_TARGET_DIR": str(target_dir(panics))}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(done.stderr)


def links(core: Core, flavour: str, programs: typing.Iterable[str]) -> bool:
    """Builds strictly; says whether that worked: whether no panic can be reached."""
    try:
        build(core, flavour, programs)
    except BuildError as error:
        if not re.search("undefined (symbol:|reference to) .?a_panic_is_reachable", str(error)):
            raise
        return False
    return True


def path(core: Core, flavour: str, program: str, panics: str = STRICT) -> pathlib.Path:
    profile = FLAVOURS[flavour].profile
    return target_dir(panics) / core.target / profile / program


def read(core: Core, flavour: str, program: str, panics: str = STRICT) -> elf.Elf:
    return elf.Elf(path(core, flavour, program, panics))


def target_dir(panics: str) -> pathlib.Path:
    return ROOT / "target" / (panics or "firmware")
