"""What the figures are held to, whatever they were before: budgets.json. A budget that was missed when the table was
written stays visible as missed, and is held to the figure of then."""

import json
import pathlib
import typing

BUDGETS = pathlib.Path(__file__).resolve().parent / "budgets.json"


class Judged(typing.NamedTuple):
    core: str
    flavour: str
    what: str
    limit: float
    value: float

    @property
    def met(self) -> bool:
        return self.value <= self.limit

    @property
    def name(self) -> str:
        return f"{self.core} at {self.flavour}: {self.what}"


def judge(figures: dict) -> list[Judged]:
    """Each budget beside its figure, where that was measured: `figures` by core and flavour."""
    budgets = json.loads(BUDGETS.read_text(encoding="ascii"))
    judged = []
    for core, lines in budgets.items():
        for line in lines:
            flavours = [line["flavour"], line["or"]] if "or" in line else [line["flavour"]]
            found = {f: value(line, figures[core][f]) for f in flavours if f in figures.get(core, {})}
            if found:
                # What may be had by either of two options counts as the better one.
                best = min(found, key=found.get)
                judged.append(Judged(core, " or ".join(flavours), line["what"], line["limit"], found[best]))
    return judged


def value(line: dict, build: dict) -> float:
    if "ratio" in line:
        ours, raw = (build["counts"][name][0] for name in line["ratio"])
        return round(ours / raw, 3)
    if "count" in line:
        return build["counts"][line["count"]][0]
    if "stack" in line:
        return max(numbers[1] for name, numbers in build["counts"].items() if name.startswith(line["stack"]))
    kind = "flash" if "flash" in line else "ram"
    return build[kind][line[kind]]
