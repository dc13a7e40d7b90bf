"""What must be accepted in the same states: the control of the negative cases.

A receiver that rejects everything passes every negative case; these tell it apart, and tell
a test that it has set its state up right.
"""

import codec
from contexts import BOBS, CURRENT, NEXT, contexts
from fleet import ALICE, CAROL, Device, salt
from keys import epoch_bytes, rotate, u8
from primitives import fixed_bytes
from receiver import judge


def accepted_cases() -> list[dict]:
    known = contexts()
    return [_case(known[where], where, *row) for where, row in [*_on_server(), *_on_device()]]


def _case(context, where: str, name: str, description: str, sealed: codec.Sealed, delivers: bytes | None) -> dict:
    verdict = judge(context, sealed.datagram)
    if verdict.stage != "accepted":
        raise SystemExit(f"{name}: must be accepted, the receiver says {verdict}")
    return {
        "name": name,
        "description": description,
        "receiver": context.receiver,
        "context": where,
        "delivers": None if delivers is None else delivers.hex(),
        "datagram": sealed.datagram.hex(),
    }


def _on_server():
    between = ALICE.hello(epoch_bytes(4, 1), salt("accepted between"), b"late")
    carol_3 = Device(CAROL.device_id, 3)
    carol = [
        d.hello(epoch_bytes(2, d.generation), salt(f"accepted carol {d.generation}"), b"two keys")
        for d in (CAROL, carol_3)
    ]
    for where in ("server-session", "server-no-session", "server-candidate", "server-restarted"):
        yield where, (f"hello-newest-{where}", "Fresh and the newest.", NEXT.hello(), NEXT.early_data)
        yield where, (f"hello-between-{where}", "Fresh, not the newest: delivered, no answer.", between, b"late")
    yield "server-session", ("hello-generation-2", "Two keys held, bits of the older.", carol[0], b"two keys")
    yield "server-session", ("hello-generation-3", "Two keys held, bits of the newer.", carol[1], b"two keys")
    yield "server-session", ("data-next", "The next number.", CURRENT.up(71, b"22.5 C", c=True), b"22.5 C")
    yield (
        "server-session",
        ("data-next-one-byte", "The next number in one byte.", CURRENT.up(71, b"22.5 C", seq_len=1), b"22.5 C"),
    )
    yield "server-session", ("data-late", "The last number inside a window of 64.", CURRENT.up(7, b"late"), b"late")
    yield "server-session", ("data-other-session", "Another device's session.", BOBS.up(1, b"bob", seq_len=1), b"bob")
    yield "server-session", ("data-close", "close.", CURRENT.up(71, b"\x02", k=True), None)
    yield (
        "server-candidate",
        (
            "hello-same-again",
            "The candidate's Hello again: the same Welcome, nothing delivered.",
            CURRENT.hello(),
            None,
        ),
    )
    yield (
        "server-candidate",
        ("data-confirms", "The first Data confirms the candidate.", CURRENT.up(0, b"22.5 C", c=True), b"22.5 C"),
    )


def _on_device():
    r = rotate(ALICE.rotation_key, ALICE.device_id, 1, fixed_bytes("r0 negative", 16)).r
    ack = codec.ack_encode(299, set(range(291, 299)))
    highest = ALICE.floor(NEXT.epoch, NEXT.salt, epoch_bytes(0xFEFFFFFE, 0xFFFF))
    yield "device-hello", ("welcome", "The answer.", NEXT.welcome(), None)
    yield "device-hello", ("floor", "A Floor.", ALICE.floor(NEXT.epoch, NEXT.salt, epoch_bytes(41, 3)), None)
    yield "device-hello", ("floor-highest", "The highest floor that is obeyed.", highest, None)
    yield "device-renewing", ("welcome-renewing", "The answer to the newer Hello.", NEXT.welcome(), None)
    yield (
        "device-renewing",
        ("data-renewing", "The old session still receives.", CURRENT.down(71, b"unlock", c=True), b"unlock"),
    )
    yield (
        "device-session",
        ("data-down-next", "The next number, an ack block.", CURRENT.down(71, b"unlock", c=True, ack=ack), b"unlock"),
    )
    yield (
        "device-session",
        ("data-down-late", "The last number inside a window of 64.", CURRENT.down(7, b"late"), b"late"),
    )
    yield (
        "device-session",
        ("data-down-rotate", "rotate that proves itself.", CURRENT.down(71, b"\x01" + u8(2) + r, c=True, k=True), None),
    )
    yield "device-session", ("data-down-empty", "No payload: nothing is delivered.", CURRENT.down(71, c=True), None)
    for number, seq_len in ((7, 2), (10, 1), (299, 2)):
        name = f"reset-{number}"
        yield (
            "device-session",
            (name, "A Reset for a number sent, not acknowledged.", CURRENT.reset(number, seq_len), None),
        )
    yield "device-fresh", ("reset-first", "A Reset for the first Data.", CURRENT.reset(0), None)
    yield (
        "device-fresh",
        ("data-down-first", "The first Data of the server.", CURRENT.down(0, b"", ack=codec.ack_encode(0)), None),
    )
