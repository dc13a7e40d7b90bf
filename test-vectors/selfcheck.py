"""Reads the finished cases back: each must parse, open and give what it was made of."""

import codec


def check_positive(files: dict[str, dict]) -> None:
    for kind in ("hello", "welcome", "floor", "data", "reset", "control"):
        for case in files[kind]["cases"]:
            problem = _problem("data" if kind == "control" else kind, case)
            if problem:
                raise SystemExit(f"{kind}.json, {case['name']}: {problem}")


def _problem(kind: str, case: dict) -> str | None:
    parsed = codec.parse(bytes.fromhex(case["datagram"]))
    if parsed.kind != kind:
        return f"parses as {parsed.kind}"
    for name, value in parsed.fields.items():
        if name != "seq" and case[name] != value.hex():
            return f"{name} is {value.hex()}"
    if "number" in case and _number(parsed, case) != case["number"]:
        return f"the number is rebuilt as {_number(parsed, case)}"
    if kind == "data" and _one_byte_forbidden(case):
        return "one byte of number is not permitted here"
    plaintext = parsed.open(bytes.fromhex(case["key"]), bytes.fromhex(case["nonce"]))
    return None if plaintext == bytes.fromhex(case["plaintext"]) else "does not open"


def _number(parsed: codec.Parsed, case: dict) -> int:
    seq = parsed.fields["seq"]
    if len(seq) == 2:
        return int.from_bytes(seq, "big")
    highest = case.get("receiver_highest_verified", case.get("device_highest_acknowledged"))
    return codec.reconstruct(seq[0], highest)


def _one_byte_forbidden(case: dict) -> bool:
    """The receiver has verified at least what the sender knows to be acknowledged."""
    return case["seq_len"] == 1 and not codec.one_byte_permitted(case["number"], case["receiver_highest_verified"])
