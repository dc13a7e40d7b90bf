"""What cargo says of the workspaces of this repository: where they are, which crates are in a tree, and who brought them. Knows
cargo's output, not what is allowed."""

import json
import pathlib
import re
import subprocess
import tomllib
import typing

ROOT = pathlib.Path(__file__).resolve().parent.parent
NODE = re.compile(r"^(\d+)(\S+) v(\S+)((?: \([^)]*\))*)\|([^ ]*)(?: \(\*\))?$")


class CargoError(Exception):
    """What cargo refused."""


class Crate(typing.NamedTuple):
    """A crate of a registry: two that a resolver keeps apart are two."""

    name: str
    version: str

    def listed(self) -> str:
        """The name, and of the version what a compatible update leaves."""
        numbers = self.version.split("+")[0].split(".")
        kept = 1 + next((at for at, number in enumerate(numbers) if number != "0"), 2)
        return f"{self.name} {'.'.join(numbers[:kept])}"


class Node(typing.NamedTuple):
    features: set[str]
    parents: set[str]


def workspaces() -> list[str]:
    """The manifest of each workspace, by its lock file; one without is an error."""
    tracked = run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "*Cargo.toml", "*Cargo.lock"]).split()
    roots = [file for file in tracked if file.endswith("Cargo.toml") and "workspace" in manifest(file)]
    for root in roots:
        if lock_of(root) not in tracked:
            raise CargoError(f"{root}: the lock file is not in the repository")
    strays = {file for file in tracked if file.endswith("Cargo.lock")} - {lock_of(root) for root in roots}
    if strays:
        raise CargoError(f"lock files without a workspace: {', '.join(sorted(strays))}")
    return sorted(roots)


def lock_of(path: str) -> str:
    return str(pathlib.Path(path).with_name("Cargo.lock"))


def manifest(path: str) -> dict:
    return tomllib.loads((ROOT / path).read_text(encoding="utf-8"))


def metadata(path: str) -> dict:
    """Fails if the lock file is not what cargo would write."""
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--all-features", "--manifest-path", path]
    return json.loads(run(command))


def tree(arguments: list[str]) -> dict[Crate, Node]:
    """The crates in a tree, without our own, and who brought each."""
    nodes: dict[Crate, Node] = {}
    path: list[str] = []
    for line in run(["cargo", "tree", "--locked", "--prefix", "depth", "--format", "{p}|{f}", *arguments]).splitlines():
        found = NODE.match(line)
        if not found:
            continue
        depth, name, version, remarks, features = found.groups()
        path[int(depth) :] = [name]
        if "(/" in remarks:
            continue
        node = nodes.setdefault(Crate(name, version), Node(set(), set()))
        node.features.update(filter(None, features.split(",")))
        node.parents.update(path[-2:-1])
    return nodes


def run(command: list[str]) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CargoError(f"{' '.join(command)}\n{done.stderr}")
    return done.stdout
