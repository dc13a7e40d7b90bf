#!/usr/bin/env python3
"""Writes the vector files beside this script; `--check` compares instead and writes nothing.

Nothing here depends on time, randomness or the machine: every run gives the same bytes.
"""

import argparse
import json
import re
import sys
from pathlib import Path

import accepted
import derivations
import negative
import negative_open
import negative_route
import negative_state
import positive
import selfcheck
import tables
from primitives import check_known_answers

HERE = Path(__file__).resolve().parent
FORMAT = "moteseal/1 test vectors, edition 1"


def documents() -> dict[str, dict]:
    return {
        "keys": _document("keys", "Every key derivation with its intermediate values.", derivations.keys_groups()),
        "numbers": _document("numbers", "Sequence numbers: truncated, rebuilt, permitted.", tables.numbers_groups()),
        "cids": _document("cids", "Connection ids of every length.", tables.cids_groups()),
        "hello": _document("hello", "Hello datagrams.", {"cases": positive.hello_cases()}),
        "welcome": _document("welcome", "Welcome datagrams.", {"cases": positive.welcome_cases()}),
        "floor": _document("floor", "Floor datagrams.", {"cases": positive.floor_cases()}),
        "data": _document("data", "Data datagrams, both directions.", {"cases": positive.data_cases()}),
        "reset": _document("reset", "Reset datagrams.", {"cases": positive.reset_cases()}),
        "ack": _document("ack", "Acknowledgement blocks and their union.", tables.ack_groups()),
        "window": _document("window", "Replay windows of Data and of Hello epochs.", tables.window_groups()),
        "control": _document("control", "Control messages inside Data.", {"cases": positive.control_cases()}),
        "negative": _document("negative", "Datagrams that must be rejected, each for one reason.", negative_groups()),
    }


def negative_groups() -> dict:
    cases = negative.Cases()
    negative.add_lengths(cases)
    negative.add_bits(cases)
    negative.add_flips(cases)
    negative_route.add_wrong_place(cases)
    negative_open.add_wrong_key(cases)
    negative_state.add_wrong_time_or_contents(cases)
    return {
        "stages": {stage: list(negative.REASONS[stage]) for stage in negative.STAGES},
        "contexts": {name: context.values() for name, context in cases.contexts.items()},
        "accepted": accepted.accepted_cases(),
        "cases": cases.cases,
    }


def _document(name: str, description: str, groups: dict) -> dict:
    return {"format": FORMAT, "file": name, "description": description, **groups}


FLAT_LIST = re.compile(r"\[\s*((?:-?\d+|\"[^\"\n]*\")(?:,\s*(?:-?\d+|\"[^\"\n]*\"))*)\s*\]")


def render(document: dict) -> str:
    """Two spaces of indent, the generator's key order, lists of scalars on one line."""
    text = json.dumps(document, indent=2, ensure_ascii=True)
    return FLAT_LIST.sub(lambda match: "[" + re.sub(r",\s+", ", ", match[1]) + "]", text) + "\n"


def rendered_files() -> dict[Path, str]:
    made = documents()
    selfcheck.check_positive(made)
    return {HERE / f"{name}.json": render(document) for name, document in made.items()}


def write(files: dict[Path, str]) -> None:
    for path, text in files.items():
        path.write_text(text, encoding="ascii", newline="\n")


def differing(files: dict[Path, str]) -> list[str]:
    stray = sorted(p.name for p in HERE.glob("*.json") if p not in files and p.name != "schema.json")
    changed = [
        path.name for path, text in files.items() if not path.exists() or path.read_bytes() != text.encode("ascii")
    ]
    return changed + stray


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="exit 1 and name each committed file that differs")
    arguments = parser.parse_args()
    check_known_answers()
    files = rendered_files()
    if not arguments.check:
        write(files)
        return 0
    wrong = differing(files)
    for name in wrong:
        print(f"{name}: differs from what generate.py makes", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
