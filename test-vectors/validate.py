#!/usr/bin/env python3
"""Validates every vector file against schema.json; exits 1 and names what is wrong."""

import json
import sys
from pathlib import Path

from jsonschema import Draft202012Validator

HERE = Path(__file__).resolve().parent


def problems() -> list[str]:
    schema = json.loads((HERE / "schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    found = []
    for path in sorted(HERE.glob("*.json")):
        if path.name != "schema.json":
            found += _problems_of(path, validator)
    return found


def _problems_of(path: Path, validator: Draft202012Validator) -> list[str]:
    try:
        document = json.loads(path.read_text())
    except ValueError as error:
        return [f"{path.name}: no JSON: {error}"]
    found = [f"{path.name}: {error.json_path}: {error.message}" for error in validator.iter_errors(document)]
    if isinstance(document, dict) and document.get("file") != path.stem:
        found.append(f'{path.name}: "file" is not {path.stem}')
    if path.stem == "negative" and not found:
        found = _unresolved(document)
    return found


def _unresolved(document: dict) -> list[str]:
    """What a schema cannot say: each context exists and belongs to the receiver; names are unique."""
    contexts, names, found = document["contexts"], set(), []
    for case in document["cases"] + document["accepted"]:
        named = case["context"]
        if named is not None and contexts.get(named, {}).get("receiver") != case["receiver"]:
            found.append(f"negative.json: {case['name']}: no context {named} of a {case['receiver']}")
        if case["name"] in names:
            found.append(f"negative.json: {case['name']}: name used twice")
        names.add(case["name"])
    return found


def main() -> int:
    found = problems()
    for problem in found:
        print(problem, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
