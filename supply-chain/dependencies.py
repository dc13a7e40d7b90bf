#!/usr/bin/env python3
"""Whether DEPENDENCIES.md is true: each crate of each tree stands in it once, with who brought it and, on a device, with which
features; nothing stands in it that is gone; the numbers in its headings are those of the lists. Exits 1 otherwise.

Comments in the list say which tree a list is of, in cargo's words. A list has what the lists above it do not have."""

import pathlib
import re
import sys
import typing

import cargo

LIST = pathlib.Path(__file__).resolve().with_name("DEPENDENCIES.md")
TREE = re.compile(r"^<!-- tree: (.*) -->$")
DIRECT = re.compile(r"^<!-- direct (dev|normal): (.*) -->$")
COUNT = re.compile(r"(\d+) crates?\b")


class Section(typing.NamedTuple):
    heading: str
    kind: str
    query: str
    # Cells by the name in the first of them.
    rows: dict[str, list[str]]


def main() -> int:
    sections = parsed(LIST.read_text(encoding="utf-8"))
    faults: list[str] = []
    seen: set[str] = set()
    for section in sections:
        faults += trees(section, seen) if section.kind == "tree" else directs(section)
    faults += forgotten(sections)
    for fault in faults:
        print(f"DEPENDENCIES.md: {fault}")
    if not faults:
        print(f"DEPENDENCIES.md: {len(seen)} crates in {len(sections)} lists, each with its reason")
    return int(bool(faults))


def parsed(text: str) -> list[Section]:
    sections: list[Section] = []
    heading = ""
    for line in text.splitlines():
        if line.startswith("#"):
            heading = line
        elif found := TREE.match(line):
            sections.append(Section(heading, "tree", found[1], {}))
        elif found := DIRECT.match(line):
            sections.append(Section(heading, found[1], found[2], {}))
        elif line.startswith("| `") and sections:
            first, *cells = [cell.strip() for cell in line.strip("|").split("|")]
            sections[-1].rows.update({name.strip(" `"): cells for name in first.split(",")})
    return sections


def trees(section: Section, seen: set[str]) -> list[str]:
    """Crates missing, gone, brought by others, with other features, or counted wrong; adds to those that have been seen."""
    nodes: dict[str, cargo.Node] = {}
    for crate, node in cargo.tree(section.query.split()).items():
        if crate.listed() not in seen:
            known = nodes.setdefault(crate.listed(), cargo.Node(set(), set()))
            known.features.update(node.features)
            known.parents.update(node.parents)
    seen.update(nodes)
    faults = [f"missing under '{section.heading}': {name}" for name in sorted(nodes.keys() - section.rows.keys())]
    faults += [f"listed under '{section.heading}', and gone or listed above: {name}" for name in sorted(section.rows.keys() - nodes.keys())]
    for name in sorted(nodes.keys() & section.rows.keys()):
        faults += compared(name, nodes[name], section.rows)
    if (said := COUNT.search(section.heading)) and int(said[1]) != len(nodes):
        faults.append(f"'{section.heading}': there are {len(nodes)}")
    return faults


def compared(name: str, node: cargo.Node, rows: dict[str, list[str]]) -> list[str]:
    """Of cells `[features,] brought by, why`."""
    *features, brought, why = rows[name]
    faults = [] if why else [f"{name}: no reason is given"]
    # Crates that share a row share who brought them.
    if not words(brought) >= node.parents or (rows_alone(name, rows) and words(brought) != node.parents):
        faults.append(f"{name}: brought by {', '.join(sorted(node.parents))}")
    if features and words(features[0]) != node.features:
        faults.append(f"{name}: its features are {', '.join(sorted(node.features)) or 'none'}")
    return faults


def rows_alone(name: str, rows: dict[str, list[str]]) -> bool:
    return sum(cells is rows[name] for cells in rows.values()) == 1


def words(cell: str) -> set[str]:
    return {word.strip(" `") for word in cell.split(",")} - {"", "none"}


def directs(section: Section) -> list[str]:
    """Direct dependencies of the packages of some workspaces: those of one kind, or all but those for tests."""
    wanted: dict[str, set[str]] = {}
    for manifest in cargo.workspaces() if section.query == "all" else section.query.split():
        data = cargo.metadata(manifest)
        for package in data["packages"]:
            if package["id"] not in data["workspace_members"]:
                continue
            for dependency in package["dependencies"]:
                if (dependency["kind"] == "dev") == (section.kind == "dev") and not dependency.get("path"):
                    wanted.setdefault(dependency["name"], set()).add(package["name"])
    faults = [f"missing under '{section.heading}': {name}" for name in sorted(wanted.keys() - section.rows.keys())]
    faults += [f"listed under '{section.heading}', and gone: {name}" for name in sorted(section.rows.keys() - wanted.keys())]
    for name in sorted(wanted.keys() & section.rows.keys()):
        users, why = section.rows[name][0], section.rows[name][-1]
        if words(users) != wanted[name]:
            faults.append(f"{name}: used by {', '.join(sorted(wanted[name]))}")
        if not why:
            faults.append(f"{name}: no reason is given")
    return faults


def forgotten(sections: list[Section]) -> list[str]:
    """Workspaces that no list speaks of."""
    named = {word for section in sections for word in section.query.split()} | {"Cargo.toml"}
    return [f"no list of {manifest}" for manifest in cargo.workspaces() if manifest not in named]


if __name__ == "__main__":
    sys.exit(main())
