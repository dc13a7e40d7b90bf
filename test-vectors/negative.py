"""The negative cases: the collector, and those that need no thought but thoroughness.

Lengths, bits and flipped bytes are here; what needs a story is in
`negative_route.py`, `negative_open.py` and `negative_state.py`.
Every case states where it must end, and the receiver of `receiver.py` must agree.
"""

import codec
from contexts import CURRENT, NEXT, contexts
from fleet import Session, session
from receiver import Verdict, judge

STAGES = ("parse", "route", "open", "window", "content", "state")
REASONS = {
    "parse": ("length", "version", "undefined_bit", "c_without_s"),
    "route": (
        "wrong_direction",
        "unknown_device",
        "device_not_active",
        "unknown_generation",
        "unknown_cid",
        "no_hello_outstanding",
        "echo_mismatch",
    ),
    "open": ("bad_tag",),
    "window": ("replayed", "too_old"),
    "content": (
        "invalid_cid",
        "short_ack_block",
        "acknowledged_never_sent",
        "empty_control",
        "control_wrong_direction",
        "control_length",
        "close_with_c",
        "rotate_not_proven",
    ),
    "state": (
        "boot_count_reserved",
        "floor_refused",
        "number_never_sent",
        "number_acknowledged",
        "hello_outstanding",
        "no_counters",
    ),
}


class Cases:
    """Collects cases and holds each against the receiver."""

    def __init__(self) -> None:
        self.contexts = contexts()
        self.cases: list[dict] = []

    def add(self, where: str, verdict: str, name: str, description: str, datagram: codec.Sealed | bytes) -> None:
        """`where` is a context, or a bare receiver where no state is needed; `verdict` is "stage/reason"."""
        if isinstance(datagram, codec.Sealed):
            datagram = datagram.datagram
        stage, reason = verdict.split("/")
        context = self.contexts.get(where)
        judged = judge(context, datagram)
        if (judged.stage, judged.reason) != (stage, reason):
            raise SystemExit(f"{name}: expected {verdict}, the receiver says {judged}")
        if reason not in REASONS[stage] or any(case["name"] == name for case in self.cases):
            raise SystemExit(f"{name}: undocumented reason or a name used twice")
        self.cases.append(_case(where, context, name, description, judged, datagram))


def _case(where, context, name, description, judged: Verdict, datagram: bytes) -> dict:
    answer = None
    if judged.answer:
        sealed = judged.answer_datagram
        answer = {"kind": judged.answer, "datagram": sealed.hex() if sealed else None}
    return {
        "name": name,
        "description": description,
        "receiver": context.receiver if context else where,
        "context": None if judged.stage == "parse" else where,
        "stage": judged.stage,
        "reason": judged.reason,
        "effect": judged.effect,
        "answer": answer,
        "datagram": datagram.hex(),
    }


def add_table(cases: Cases, where: str, verdict: str, rows) -> None:
    for name, description, datagram in rows:
        cases.add(where, verdict, name, description, datagram)


# --- lengths ---------------------------------------------------------------------------------

SMALL = session(CURRENT.device, "negative small", 2, 0, codec.cid_encode(1, 9))
LARGE = session(CURRENT.device, "negative large", 2, 1, codec.cid_encode(4, 2**29 + 9))


def add_lengths(cases: Cases) -> None:
    cases.add("server", "parse/length", "empty", "No byte at all.", b"")
    _truncations(cases, "server", "hello", SMALL.hello().datagram, 1)
    _truncations(cases, "device", "welcome", SMALL.welcome().datagram, 1)
    _truncations(cases, "device", "floor", SMALL.device.floor(SMALL.epoch, SMALL.salt, SMALL.epoch).datagram, 1)
    _truncations(cases, "server", "data-smallest", SMALL.up(1, seq_len=1).datagram, 1)
    _truncations(cases, "server", "data-largest-header", LARGE.up(1, c=True).datagram, 1)
    _truncations(cases, "device", "reset-smallest", SMALL.reset(1, 1).datagram, 1)
    _truncations(cases, "device", "reset-largest", LARGE.reset(1, 2).datagram, 1)
    _trailing(cases)
    _cid_longer_than_the_datagram(cases)


def _truncations(cases: Cases, receiver: str, name: str, datagram: bytes, start: int) -> None:
    for length in range(start, len(datagram)):
        what = f"The first {length} of the {len(datagram)} bytes of a {name.replace('-', ', ')}."
        cases.add(receiver, "parse/length", f"{name}-cut-to-{length}", what, datagram[:length])


def _trailing(cases: Cases) -> None:
    longest = Session(SMALL.device, SMALL.epoch, SMALL.salt, SMALL.server_salt, LARGE.cid)
    floor = SMALL.device.floor(SMALL.epoch, SMALL.salt, SMALL.epoch)
    rows = [
        ("welcome-32", "A Welcome of 32 bytes: one after the longest.", longest.welcome().datagram + b"\0"),
        ("welcome-64", "A Welcome of 64 bytes.", longest.welcome().datagram + bytes(33)),
        ("floor-26", "A Floor and a byte.", floor.datagram + b"\0"),
        ("floor-twice", "A Floor, twice in one datagram.", floor.datagram * 2),
        ("reset-smallest-and-1", "The smallest Reset and a byte.", SMALL.reset(1, 1).datagram + b"\0"),
        ("reset-smallest-and-16", "The smallest Reset and another tag.", SMALL.reset(1, 1).datagram + bytes(16)),
        ("reset-largest-and-1", "The largest Reset and a byte.", LARGE.reset(1, 2).datagram + b"\0"),
    ]
    for name, description, datagram in rows:
        cases.add("device", "parse/length", name, description, datagram)


def _cid_longer_than_the_datagram(cases: Cases) -> None:
    for length in (2, 3, 4):
        cid = bytes([(length - 1) << 6])
        data, reset = bytes([0x60]) + cid + bytes(17), bytes([0x70]) + cid + bytes(17)
        told = f"19 bytes whose first cid byte tells {length}: too short for that."
        cases.add("server", "parse/length", f"data-cid-tells-{length}", told, data)
        cases.add("device", "parse/length", f"reset-cid-tells-{length}", told, reset)


# --- bits ------------------------------------------------------------------------------------


def add_bits(cases: Cases) -> None:
    samples = _samples()
    for name, (receiver, datagram, _) in samples.items():
        for version in (0, 2, 3):
            wrong = bytes([version << 6 | datagram[0] & 0x3F]) + datagram[1:]
            cases.add(receiver, "parse/version", f"{name}-version-{version}", f"Version bits {version:02b}.", wrong)
    for name, (receiver, datagram, patterns) in samples.items():
        for pattern in patterns:
            wrong = bytes([datagram[0] | pattern]) + datagram[1:]
            what = f"Undefined bits set: {pattern:04b}, the rest as sealed."
            cases.add(receiver, "parse/undefined_bit", f"{name}-undefined-{pattern:04b}", what, wrong)
    _sealed_undefined(cases)
    _c_without_s(cases)
    for byte in (0x00, 0xFF):
        what = f"1,200 bytes of {byte:02x}."
        cases.add("server", "parse/version", f"all-{byte:02x}", what, bytes([byte]) * 1200)


def _samples() -> dict[str, tuple[str, bytes, tuple[int, ...]]]:
    """Receiver, a datagram that is well-formed, patterns of bits that are undefined in it."""
    floor = SMALL.device.floor(SMALL.epoch, SMALL.salt, SMALL.epoch)
    return {
        "hello": ("server", SMALL.hello().datagram, (1, 2, 3)),
        "welcome": ("device", SMALL.welcome().datagram, (1, 2, 3)),
        "floor": ("device", floor.datagram, (1, 2, 8, 11)),
        "data": ("server", SMALL.up(1).datagram, ()),
        "reset": ("device", SMALL.reset(1).datagram, (1, 2, 4, 7)),
    }


def _sealed_undefined(cases: Cases) -> None:
    """The bit is set and the tag covers it: a receiver that does not look would accept."""
    device = SMALL.device
    rows = [
        ("server", "hello", device.hello(SMALL.epoch, SMALL.salt, b"", flags=0x46)),
        ("device", "welcome", SMALL.welcome(flags=0x51)),
        ("device", "floor", device.floor(SMALL.epoch, SMALL.salt, SMALL.epoch, flags=0x5C)),
        ("device", "reset", SMALL.reset(1, flags=0x79)),
    ]
    for receiver, name, sealed in rows:
        what = "An undefined bit is set and the tag covers it."
        cases.add(receiver, "parse/undefined_bit", f"{name}-undefined-sealed", what, sealed)


def _c_without_s(cases: Cases) -> None:
    for low in (0x4, 0x5, 0x6, 0x7):
        ack = codec.ack_encode(0) if low & codec.BIT_A else None
        sealed = SMALL.up(1, b"\x7f", seq_len=1, ack=ack, flags=0x60 | low)
        what = f"C implies S: low nibble {low:04b}, sealed so."
        cases.add("server", "parse/c_without_s", f"data-c-without-s-{low:04b}", what, sealed)


# --- flipped bytes ---------------------------------------------------------------------------

UNDEFINED, VERSION, LENGTH, TAG = "parse/undefined_bit", "parse/version", "parse/length", "open/bad_tag"
NO_S, GENERATION, CID = "parse/c_without_s", "route/unknown_generation", "route/unknown_cid"


def add_flips(cases: Cases) -> None:
    """One bit of each byte; of the first byte every bit, from bit 0 to bit 7."""
    device = CURRENT.device
    up = CURRENT.up(71, b"22.5 C", c=True, ack=codec.ack_encode(2))
    down = CURRENT.down(71, b"unlock", seq_len=1)
    floor = device.floor(NEXT.epoch, NEXT.salt, NEXT.epoch)
    _flip(
        cases,
        "server-session",
        "hello",
        NEXT.hello(),
        [UNDEFINED, UNDEFINED, GENERATION, GENERATION, LENGTH, NO_S, VERSION, VERSION],
        [(1, 9, "route/unknown_device")],
        {8: 7},
    )
    _flip(
        cases,
        "device-hello",
        "welcome",
        NEXT.welcome(),
        [UNDEFINED, UNDEFINED, UNDEFINED, TAG, LENGTH, LENGTH, VERSION, VERSION],
        [(1, 3, "route/echo_mismatch")],
    )
    _flip(
        cases,
        "device-hello",
        "floor",
        floor,
        [UNDEFINED, UNDEFINED, LENGTH, UNDEFINED, LENGTH, UNDEFINED, VERSION, VERSION],
        [(1, 3, "route/echo_mismatch")],
    )
    _flip(
        cases,
        "server-session",
        "data-up",
        up,
        [TAG, TAG, TAG, NO_S, UNDEFINED, UNDEFINED, VERSION, VERSION],
        [(1, 2, CID)],
    )
    _flip(
        cases,
        "device-session",
        "data-down",
        down,
        [TAG, TAG, NO_S, TAG, LENGTH, LENGTH, VERSION, VERSION],
        [(1, 2, CID)],
    )
    _flip(
        cases,
        "device-session",
        "reset",
        CURRENT.reset(12),
        [UNDEFINED, UNDEFINED, UNDEFINED, LENGTH, TAG, LENGTH, VERSION, VERSION],
        [(1, 2, CID)],
        {2: 0, 3: 0},
    )


def _flip(
    cases: Cases, where: str, name: str, sealed: codec.Sealed, first: list[str], ranges, bits: dict | None = None
) -> None:
    datagram = sealed.datagram
    for bit, verdict in enumerate(first):
        _add_flip(cases, where, name, datagram, 0, bit, verdict)
    for at in range(1, len(datagram)):
        verdict = next((v for start, end, v in ranges if start <= at < end), TAG)
        _add_flip(cases, where, name, datagram, at, (bits or {}).get(at, at % 6), verdict)


def _add_flip(cases: Cases, where: str, name: str, datagram: bytes, at: int, bit: int, verdict: str) -> None:
    flipped = datagram[:at] + bytes([datagram[at] ^ 1 << bit]) + datagram[at + 1 :]
    what = f"A {name.split('-')[0].capitalize()} that verifies, but for bit {bit} of byte {at}."
    cases.add(where, verdict, f"{name}-flip-byte-{at}-bit-{bit}", what, flipped)
