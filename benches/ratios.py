#!/usr/bin/env python3
"""Puts the medians of `cargo bench --bench datagrams --features ring` side by side: ours, the raw primitive's,
their ratio. Exits 1 if a ratio is over its budget (benches/budgets.json) or a measurement is missing."""

import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent
RESULTS = ROOT.parent / "target" / "criterion" / "datagrams"
LENGTHS = [0, 16, 64, 256, 1024]
ROWS = [f"{verb}/{length}" for length in LENGTHS for verb in ("protect", "verify")] + ["session/set-up", "session/accept"]


def median(backend: str, row: str, whose: str) -> float:
    # criterion writes the slashes of a benchmark's name as underscores
    name = f"{backend}/{row}/{whose}".replace("/", "_")
    with open(RESULTS / name / "new" / "estimates.json", encoding="ascii") as file:
        return json.load(file)["median"]["point_estimate"]


def main() -> int:
    budgets = json.loads((ROOT / "budgets.json").read_text(encoding="ascii"))
    over = False
    print("| backend | what | moteseal, ns | raw, ns | ratio | budget |\n|---|---|---|---|---|---|")
    for backend in ("portable", "ring"):
        for row in ROWS:
            ours, raw = median(backend, row, "moteseal"), median(backend, row, "raw")
            budget = budgets[backend].get(row)
            over |= budget is not None and ours / raw > budget
            print(f"| {backend} | {row} | {ours:.0f} | {raw:.0f} | {ours / raw:.2f} | {budget or ''} |")
    return int(over)


if __name__ == "__main__":
    sys.exit(main())
