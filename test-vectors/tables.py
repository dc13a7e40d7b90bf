"""Tables without cryptography: numbers, connection ids, acknowledgement blocks, replay windows."""

import codec
from keys import epoch_bytes

DATA_WINDOW = 64
HELLO_WINDOW = 32


# --- numbers ---------------------------------------------------------------------------------


def numbers_groups() -> dict[str, list[dict]]:
    return {
        "reconstruct": [_reconstruct(*row) for row in _reconstruct_rows()],
        "two_bytes": [
            {"seq": f"{n:04x}", "highest": h, "number": n}
            for n in (0, 255, 256, 0xFEFF, 0xFF00, 0xFFFF)
            for h in (None, 0, 0xFFFF)
        ],
        "one_byte_permitted": [_permitted(*row) for row in _permitted_rows()],
        "reset": [_reset(*row) for row in _reset_rows()],
    }


def _reconstruct(low: int, highest: int | None, why: str) -> dict:
    return {"seq": f"{low:02x}", "highest": highest, "number": codec.reconstruct(low, highest), "why": why}


def _reconstruct_rows():
    none = "none verified, or a server without counters: the byte itself"
    yield from ((low, None, none) for low in (0, 1, 127, 128, 129, 255))
    zero = "never below 0"
    yield from ((low, 0, zero) for low in (0, 1, 128, 129, 130, 255))
    yield from ((low, 126, zero) for low in (0, 126, 127, 254, 255))
    tie = "equally near: the lower"
    yield from ((low, 127, tie if low == 0 else "nearest") for low in (0, 1, 127, 128, 255))
    yield from ((low, 128, tie if low == 1 else "nearest") for low in (0, 1, 2, 128, 129, 255))
    yield from ((low, 255, tie if low == 128 else "nearest") for low in (0, 1, 127, 128, 129, 255))
    yield from ((low, 256, tie if low == 129 else "nearest") for low in (0, 1, 128, 129, 130, 255))
    yield from ((low, 383, tie if low == 0 else "nearest") for low in (255, 0, 1, 127, 128))
    yield from ((low, 0x1234, tie if low == 0xB5 else "nearest") for low in (0x34, 0x35, 0xB4, 0xB5, 0xB6, 0x00, 0xFF))
    yield from ((low, 0xFE7F, tie if low == 0 else "nearest") for low in (0xFF, 0, 1, 0x80))
    top = "around the last block"
    yield from ((low, 0xFEFF, top) for low in (0x00, 0x7F, 0x80, 0x81, 0xFE, 0xFF))
    yield from ((low, 0xFF00, top) for low in (0x00, 0x01, 0x80, 0x81, 0x82, 0xFF))
    high = "never above 65535"
    yield from ((low, 0xFF7F, high) for low in (0x00, 0x7F, 0x80, 0xFF))
    yield from ((low, 0xFF80, high) for low in (0x00, 0x01, 0x02, 0x80, 0xFF))
    yield from ((low, 0xFFFE, high) for low in (0x00, 0x7E, 0x7F, 0xFE, 0xFF))
    yield from ((low, 0xFFFF, high) for low in (0x00, 0x01, 0x7F, 0x80, 0xFF))


def _permitted_rows():
    for acknowledged in (None, 0, 1, 127, 128, 254, 255, 256, 0xFE7F, 0xFE80, 0xFEFF, 0xFF7F):
        first = 0 if acknowledged is None else acknowledged + 1
        for number in (first, first + 1, first + 126, first + 127, first + 128, first + 129, 0xFFFF):
            if number <= codec.MAX_NUMBER:
                yield number, acknowledged


def _permitted(number: int, acknowledged: int | None) -> dict:
    return {
        "number": number,
        "highest_acknowledged": acknowledged,
        "permitted": codec.one_byte_permitted(number, acknowledged),
    }


def _reset_rows():
    """seq as on the wire, the highest number that the device had acknowledged."""
    yield from (("00", None), ("7f", None), ("80", None), ("ff", None))
    yield from (("00", 0), ("01", 0), ("80", 127), ("00", 127), ("2c", 298), ("04", 250), ("ff", 250))
    yield from (("00", 0xFEFF), ("ff", 0xFF7F), ("ff", 0xFFFE), ("0000", 300), ("0123", None), ("ffff", 0))


def _reset(seq: str, acknowledged: int | None) -> dict:
    value = int(seq, 16)
    number = value if len(seq) == 4 else codec.reconstruct(value, acknowledged)
    return {"seq": seq, "highest_acknowledged": acknowledged, "number": number}


# --- connection ids --------------------------------------------------------------------------


def cids_groups() -> dict[str, list[dict]]:
    valid = []
    for length in (1, 2, 3, 4):
        bits = 8 * length - 2
        top = (1 << bits) - 1
        for value in sorted({0, 1, 5, 63, top // 2, top // 2 + 1, top - 1, top}):
            cid = codec.cid_encode(length, value)
            valid.append({"cid": cid.hex(), "length": length, "bits": bits, "value": value})
    return {
        "valid": valid,
        "unencodable": [{"length": n, "value": 1 << 8 * n - 2} for n in (1, 2, 3, 4)]
        + [{"length": 0, "value": 0}, {"length": 5, "value": 0}],
        "invalid": [_invalid_cid(cid) for cid in _invalid_cids()],
    }


def _invalid_cids():
    """As the plaintext of a Welcome: the first byte's length and the real one disagree."""
    for length in (1, 2, 3, 4):
        for claimed in (1, 2, 3, 4):
            if claimed != length:
                yield bytes([(claimed - 1) << 6 | 5]) + bytes(range(1, length))


def _invalid_cid(cid: bytes) -> dict:
    return {"cid": cid.hex(), "length": len(cid), "length_told": codec.cid_length(cid[0])}


# --- acknowledgement blocks ------------------------------------------------------------------


def ack_groups() -> dict[str, list[dict]]:
    encode = [
        ("first number", 0, []),
        ("second number, the first too", 1, [0]),
        ("second number, not the first", 1, []),
        ("the eighth has all before it", 8, list(range(8))),
        ("near 0", 3, [0, 2]),
        ("more than eight behind is not in the block", 20, [3, 11, 12, 19]),
        ("every other", 100, [99, 97, 95, 93]),
        ("across a byte", 256, [255, 254, 248]),
        ("the last number", 0xFFFF, [0xFFFE, 0xFFF7]),
        ("the answer to a repeat far behind names its own past", 10, [9, 2, 60]),
    ]
    unite = [
        ("one block", ["000a00"]),
        ("the same twice", ["000a81", "000a81"]),
        ("neighbours", ["000a00", "000b00"]),
        ("overlap", ["001003", "001280"]),
        ("out of order", ["0064ff", "000a01"]),
        ("a block never takes anything back", ["0008ff", "000800", "000900"]),
        ("both ends", ["000000", "ffffff"]),
    ]
    impossible = [
        ("000001", "names -1"),
        ("000080", "names -8"),
        ("000102", "names -1"),
        ("000380", "names -5"),
        ("0007ff", "names -1"),
    ]
    outcomes = [
        ("named at once", 1, ["000100"]),
        ("named by a bit", 1, ["000404"]),
        ("nothing is told before", 1, ["000000", "000200", "000502", "000100"]),
        ("63 above: it may still be accepted", 1, ["004000", "0040ff", "000100"]),
        ("64 above: given up", 1, ["004100"]),
        ("64 above with all bits, of which none reaches it", 1, ["0041ff"]),
        ("far above", 1, ["9c4000"]),
        ("given up is given up", 10, ["004a00", "000a00", "00ffff"]),
        ("acknowledged stays acknowledged", 10, ["000a00", "004a00", "ffff00"]),
        ("blocks that were overtaken", 200, ["00d200", "010700", "00c800", "010800"]),
        ("a block from before it was sent", 200, ["00c7ff", "010700", "00c7ff", "010800"]),
        ("no number is left to pass it", 0xFFC0, ["ffff00", "ffffff", "ffc000"]),
        ("the last that can be passed", 0xFFBF, ["fffeff", "ffff00"]),
        ("the last number", 0xFFFF, ["fffe00", "ffff00"]),
    ]
    return {
        "encode": [_ack_encode(*row) for row in encode],
        "decode": [
            {"block": b, "numbers": codec.ack_decode(bytes.fromhex(b))}
            for b in ("000000", "000101", "000305", "0008ff", "000980", "010055", "fffe01", "ffffff")
        ],
        "union": [_ack_union(*row) for row in unite],
        "outcomes": [_ack_outcomes(*row) for row in outcomes],
        "impossible": [{"block": block, "why": why} for block, why in impossible],
    }


def _ack_encode(why: str, number: int, others: list[int]) -> dict:
    return {
        "why": why,
        "number": number,
        "acknowledgeable": sorted(set(others) | {number}),
        "block": codec.ack_encode(number, set(others)).hex(),
    }


def _ack_union(why: str, blocks: list[str]) -> dict:
    numbers = set().union(*(codec.ack_decode(bytes.fromhex(block)) for block in blocks))
    return {"why": why, "blocks": blocks, "numbers": sorted(numbers)}


def _ack_outcomes(why: str, number: int, blocks: list[str]) -> dict:
    """The word for a Data with C of this number after each block; a word once said stays (M-102, M-128)."""
    named, word, steps = set(), None, []
    for block in blocks:
        named.update(codec.ack_decode(bytes.fromhex(block)))
        if word is None and number in named:
            word = "acknowledged"
        elif word is None and max(named) >= number + DATA_WINDOW:
            word = "unknown"
        steps.append({"block": block, "word": word})
    return {"why": why, "number": number, "steps": steps}


# --- replay windows --------------------------------------------------------------------------


class Window:
    """The slow, obvious model: the set of everything ever accepted."""

    def __init__(self, width: int, seen: list[int] = ()):
        self.width, self.accepted = width, set(seen)

    @property
    def highest(self) -> int | None:
        return max(self.accepted, default=None)

    def verdict(self, number: int) -> str:
        if self.highest is not None and number <= self.highest - self.width:
            return "too_old"
        return "replayed" if number in self.accepted else "fresh"

    def seen(self) -> list[int]:
        return sorted(n for n in self.accepted if n > self.highest - self.width) if self.accepted else []


DATA_SEQUENCES = [
    ("in order", [0, 1, 2, 3]),
    ("the same twice", [0, 0, 5, 5, 0]),
    ("out of order", [3, 1, 2, 0, 2]),
    ("first number is not 0", [1000, 999, 936, 937]),
    ("both edges of the window", [100, 37, 36, 37, 100]),
    ("a jump of 63 keeps the last bit", [10, 73, 10, 9, 11]),
    ("a jump of 64 forgets it", [10, 74, 10, 11, 73]),
    ("a jump of 65", [10, 75, 10, 11, 12]),
    ("a jump far beyond the width", [0, 1, 2, 40000, 2, 39936, 39937, 39999, 40000]),
    ("a jump over a whole word after a full window", [*range(64), 128, 64, 65, 63, 128]),
    ("backwards through the window", [200, 199, 198, 137, 136, 198]),
    ("around one byte", [254, 255, 256, 257, 255, 193, 194]),
    ("to the last number", [0xFEFF, 0xFF00, 0xFFFE, 0xFFFF, 0xFFFF, 0xFFC0, 0xFFBF]),
    ("from 0 to the last", [0, 0xFFFF, 0, 0xFFFE]),
]

HELLO_SEQUENCES = [
    ("counts of one boot", [(1, 0), (1, 1), (1, 2), (1, 1)]),
    ("the same twice", [(1, 0), (1, 0)]),
    ("out of order inside the window", [(1, 31), (1, 0), (1, 15), (1, 0)]),
    ("both edges of the window", [(1, 100), (1, 69), (1, 68), (1, 69)]),
    ("a jump of 31 keeps the last bit", [(1, 10), (1, 41), (1, 10), (1, 9)]),
    ("a jump of 32 forgets it", [(1, 10), (1, 42), (1, 10), (1, 11)]),
    ("a new boot is a jump of up to 65,536", [(1, 0), (2, 0), (1, 0), (1, 0xFFFF), (1, 0xFFE1), (1, 0xFFE0)]),
    (
        "a boot that used its last count",
        [(1, 0xFFFF), (2, 0), (2, 1), (1, 0xFFFF), (1, 0xFFFE), (1, 0xFFE2), (1, 0xFFE1)],
    ),
    ("a jump of many boots", [(1, 0), (0x00100000, 0), (0x000FFFFF, 0xFFFF), (1, 1)]),
    ("the highest boot count", [(0xFEFFFFFE, 0xFFFF), (0xFEFFFFFF, 0), (0xFEFFFFFF, 0xFFFF), (0xFEFFFFFF, 0)]),
]

RAISED = (2**20 + 41, 0xFFFF)


def window_groups() -> dict[str, list[dict]]:
    hello = [_sequence(why, HELLO_WINDOW, [_epoch(e) for e in row]) for why, row in HELLO_SEQUENCES]
    raised = _epoch(RAISED)
    whole = list(range(raised - HELLO_WINDOW + 1, raised + 1))
    probes = [
        _epoch((70, 0)),
        raised - HELLO_WINDOW,
        raised - HELLO_WINDOW + 1,
        raised,
        _epoch((RAISED[0] + 1, 0)),
        raised,
    ]
    hello.append(_sequence("a raised record starts with the whole window seen", HELLO_WINDOW, probes, whole))
    return {
        "data": [_sequence(why, DATA_WINDOW, row) for why, row in DATA_SEQUENCES],
        "hello": hello,
    }


def _epoch(at: tuple[int, int]) -> int:
    return int.from_bytes(epoch_bytes(*at), "big")


def _sequence(why: str, width: int, numbers: list[int], seen: list[int] = ()) -> dict:
    window, steps = Window(width, seen), []
    for number in numbers:
        verdict = window.verdict(number)
        if verdict == "fresh":
            window.accepted.add(number)
        steps.append({"number": number, "verdict": verdict, "highest": window.highest, "seen": window.seen()})
    return {"why": why, "width": width, "start_seen": list(seen), "steps": steps}
