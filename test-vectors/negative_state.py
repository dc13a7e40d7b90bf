"""Negative cases whose tag verifies: the wrong time, the wrong state, malformed contents."""

import codec
from contexts import (
    BOBS,
    CURRENT,
    DEVICE_COUNTERS,
    NEXT,
    OLDER,
    SERVER_COUNTERS,
)
from fleet import ALICE, BOB, CAROL, Device, salt
from keys import epoch_bytes, rotate, u8
from negative import Cases, add_table
from primitives import fixed_bytes
from tables import cids_groups


def add_wrong_time_or_contents(cases: Cases) -> None:
    _window_of_data(cases)
    _window_of_hellos(cases)
    _state(cases)
    _welcome_content(cases)
    _content_on_server(cases)
    _content_on_device(cases)
    _rotate_content(cases)


# --- window ----------------------------------------------------------------------------------


def _window_of_data(cases: Cases) -> None:
    for where, side, received, send in (
        ("server-session", "up", SERVER_COUNTERS, CURRENT.up),
        ("device-session", "down", DEVICE_COUNTERS, CURRENT.down),
    ):
        for number, sealed in zip(received.numbers, received.received, strict=True):
            verdict = "window/replayed" if number > 6 else "window/too_old"
            c = " It asks again for an acknowledgement." if sealed.datagram[0] & codec.BIT_C and number > 6 else ""
            cases.add(
                where, verdict, f"data-{side}-repeat-{number}", f"Number {number} again; the highest is 70.{c}", sealed
            )
        for number in (5, 6):
            what = f"Number {number}, never received, left of a window of 64 below 70."
            cases.add(where, "window/too_old", f"data-{side}-late-{number}", what, send(number, b"late"))
    bobs = BOBS.up(0, b"received 0", c=True)
    cases.add("server-session", "window/replayed", "data-up-repeat-first", "The only Data of a session again.", bobs)


def _window_of_hellos(cases: Cases) -> None:
    same_epoch = ALICE.hello(CURRENT.epoch, salt("negative same epoch"), b"22.0 C")
    same_salt = ALICE.hello(CURRENT.epoch, CURRENT.salt, b"22.0 C")
    ancient = ALICE.hello(epoch_bytes(3, 9), salt("negative ancient"), b"20.0 C")
    first = ALICE.hello(epoch_bytes(1, 0), salt("negative first"))
    carol_3 = Device(CAROL.device_id, 3)
    for where in ("server-session", "server-no-session", "server-candidate"):
        at = where.removeprefix("server-")
        add_table(
            cases,
            where,
            "window/replayed",
            [
                (f"hello-seen-{at}", "An older Hello again, epoch seen inside the window.", OLDER.hello()),
                (f"hello-same-epoch-{at}", "Equal in epoch but not in bytes.", same_epoch),
                (f"hello-same-salt-{at}", "Equal in epoch and salt but not in bytes.", same_salt),
            ],
        )
        add_table(
            cases,
            where,
            "window/too_old",
            [
                (f"hello-left-of-window-{at}", "An epoch left of the window.", ancient),
                (f"hello-first-boot-{at}", "Boot 1: what a device with an erased counter sends.", first),
            ],
        )
    add_table(
        cases,
        "server-session",
        "window/replayed",
        [
            ("hello-of-the-session", "The Hello of the confirmed session again: nothing at all.", CURRENT.hello()),
            (
                "hello-two-keys",
                "Two keys held: a seen epoch, under the newer of them.",
                carol_3.hello(epoch_bytes(1, 0), salt("negative carol")),
            ),
        ],
    )
    add_table(
        cases,
        "server-restarted",
        "window/replayed",
        [
            (
                "hello-of-the-session-restarted",
                "After a crash, epoch and salt of the confirmed entry: nothing at all.",
                CURRENT.hello(),
            ),
            ("hello-same-salt-restarted", "Not in bytes, but the tag is not known any more: nothing.", same_salt),
        ],
    )
    add_table(
        cases,
        "server-restarted-candidate",
        "window/replayed",
        [
            ("hello-of-the-lost-candidate", "Its candidate lost its Welcome in a crash: stale.", CURRENT.hello()),
        ],
    )
    add_table(
        cases,
        "server-no-session",
        "window/replayed",
        [
            ("hello-without-entry", "The newest Hello, its entry gone: stale.", CURRENT.hello()),
        ],
    )


# --- state -----------------------------------------------------------------------------------


def _state(cases: Cases) -> None:
    far = [(0xFF000000, 0), (0xFF000000, 0xFFFF), (0xFFFFFFFF, 0xFFFF)]
    rows = [
        (
            f"hello-boot-{b:08x}-{c:04x}",
            f"Boot count {b:08x}: the device must be provisioned anew.",
            ALICE.hello(epoch_bytes(b, c), salt(f"far {b} {c}"), b"x"),
        )
        for b, c in far
    ]
    add_table(cases, "server-session", "state/boot_count_reserved", rows)
    add_table(
        cases,
        "server-no-session",
        "state/boot_count_reserved",
        [
            (
                "hello-boot-reserved-no-session",
                "The same without any session.",
                ALICE.hello(epoch_bytes(0xFF000001, 1), salt("far no session")),
            ),
        ],
    )
    floors = [epoch_bytes(0xFEFFFFFF, 0), epoch_bytes(0xFEFFFFFF, 0xFFFF), epoch_bytes(0xFF000000, 0), b"\xff" * 6]
    rows = [(f"floor-{f.hex()}", "A floor so high is refused.", ALICE.floor(NEXT.epoch, NEXT.salt, f)) for f in floors]
    add_table(cases, "device-hello", "state/floor_refused", rows)
    add_table(
        cases,
        "device-renewing",
        "state/floor_refused",
        [
            (
                "floor-refused-while-renewing",
                "The same with a session beside it.",
                ALICE.floor(NEXT.epoch, NEXT.salt, epoch_bytes(0xFEFFFFFF, 1)),
            ),
        ],
    )
    rows = [
        (f"reset-never-sent-{n}", f"A Reset for {n}; the device has sent 0 to 299.", CURRENT.reset(n))
        for n in (300, 301, 0xFFFF)
    ]
    add_table(cases, "device-session", "state/number_never_sent", rows)
    rows = [
        (f"reset-never-sent-fresh-{n}", f"A Reset for {n}; the device has sent 0 alone.", CURRENT.reset(n, 1))
        for n in (1, 255)
    ]
    add_table(cases, "device-fresh", "state/number_never_sent", rows)
    rows = [
        (f"reset-acknowledged-{n}", f"A Reset for {n}, which is acknowledged.", CURRENT.reset(n)) for n in (0, 3, 6, 9)
    ]
    rows += [
        (f"reset-acknowledged-{n}-one-byte", f"The same for {n} in one byte.", CURRENT.reset(n, 1)) for n in (6, 9)
    ]
    add_table(cases, "device-session", "state/number_acknowledged", rows)
    add_table(
        cases,
        "device-renewing",
        "state/hello_outstanding",
        [
            ("reset-while-renewing", "A Reset while a Hello is outstanding is ignored.", CURRENT.reset(10)),
            ("reset-while-renewing-one-byte", "The same in one byte.", CURRENT.reset(11, 1)),
        ],
    )
    repeat = SERVER_COUNTERS.received[5]
    add_table(
        cases,
        "server-restarted",
        "state/no_counters",
        [
            (
                "data-after-restart",
                "Data under an entry without counters: Reset, nothing delivered.",
                CURRENT.up(71, b"22.5 C", c=True),
            ),
            (
                "data-after-restart-one-byte",
                "The same in one byte: the Reset has one byte too.",
                CURRENT.up(71, b"22.5 C", seq_len=1),
            ),
            ("data-after-restart-repeat", "What was delivered before the crash is not delivered again.", repeat),
            ("data-after-restart-close", "A close under an entry without counters.", CURRENT.up(72, b"\x02", k=True)),
        ],
    )
    add_table(
        cases,
        "server-restarted-candidate",
        "state/no_counters",
        [
            (
                "data-to-lost-candidate",
                "The first Data under a candidate without counters.",
                CURRENT.up(0, b"22.5 C", c=True),
            ),
        ],
    )


# --- content ---------------------------------------------------------------------------------


def _welcome_content(cases: Cases) -> None:
    for invalid in cids_groups()["invalid"]:
        cid = bytes.fromhex(invalid["cid"])
        what = f"A cid of {invalid['length']} bytes whose first tells {invalid['length_told']}."
        cases.add("device-hello", "content/invalid_cid", f"welcome-cid-{invalid['cid']}", what, NEXT.welcome(cid=cid))
    what = "The same beside a session."
    cases.add("device-renewing", "content/invalid_cid", "welcome-cid-renewing", what, NEXT.welcome(cid=b"\x40"))


def _malformed_blocks(side: str, send) -> list[tuple[str, str, codec.Sealed]]:
    rows = []
    for length in (0, 1, 2):
        what = f"A with {length} bytes of plaintext."
        rows.append((f"data-{side}-ack-block-{length}", what, send(71, ack=bytes(length), c=True)))
        rows.append(
            (
                f"data-{side}-ack-block-{length}-one-byte",
                f"{what} One byte of number.",
                send(71, ack=bytes(length), seq_len=1),
            )
        )
    rows.append(
        (f"data-{side}-ack-block-2-control", "A and K with 2 bytes of plaintext.", send(71, ack=bytes(2), k=True))
    )
    return rows


def _empty_controls(side: str, send) -> list[tuple[str, str, codec.Sealed]]:
    return [
        (f"data-{side}-control-empty", "K with an empty payload.", send(71, k=True)),
        (f"data-{side}-control-empty-c", "K and C with an empty payload.", send(71, k=True, c=True)),
        (
            f"data-{side}-control-empty-one-byte",
            "K with an empty payload, one byte of number.",
            send(71, k=True, seq_len=1),
        ),
        (
            f"data-{side}-control-only-block",
            "K with an ack block and nothing behind it.",
            send(71, k=True, ack=codec.ack_encode(0)),
        ),
    ]


def _never_sent(side: str, send, blocks: list[tuple[str, str]]) -> list[tuple[str, str, codec.Sealed]]:
    return [(f"data-{side}-ack-{block}", what, send(71, b"x", ack=bytes.fromhex(block))) for block, what in blocks]


def _content_on_server(cases: Cases) -> None:
    up = CURRENT.up
    add_table(cases, "server-session", "content/short_ack_block", _malformed_blocks("up", up))
    add_table(cases, "server-session", "content/empty_control", _empty_controls("up", up))
    add_table(
        cases,
        "server-session",
        "content/acknowledged_never_sent",
        _never_sent(
            "up",
            up,
            [
                ("000300", "3, and the server has sent 0 to 2."),
                ("000307", "3 with 0 to 2 before it."),
                ("010000", "256."),
                ("ffffff", "65,535 and the eight before it."),
                ("000208", "A bit for -2."),
                ("000001", "A bit for -1."),
                ("000280", "A bit for -6."),
            ],
        ),
    )
    add_table(
        cases,
        "server-candidate",
        "content/acknowledged_never_sent",
        [
            (
                "data-up-ack-nothing-sent",
                "The server has sent nothing under this candidate.",
                up(0, b"x", c=True, ack=bytes(3)),
            ),
        ],
    )
    r = rotate(ALICE.rotation_key, ALICE.device_id, 1, fixed_bytes("r0 negative", 16)).r
    add_table(
        cases,
        "server-session",
        "content/control_wrong_direction",
        [
            ("control-rotate-to-server", "rotate goes to devices.", up(71, b"\x01" + u8(2) + r, c=True, k=True)),
        ],
    )
    add_table(
        cases,
        "server-session",
        "content/control_length",
        [
            ("control-close-long", "close with a byte behind it.", up(71, b"\x02\x00", k=True)),
            ("control-moved-1", "moved without its counter.", up(71, b"\x03", c=True, k=True)),
            ("control-moved-4", "moved with 3 of 4 bytes.", up(71, b"\x03\0\0\0", c=True, k=True)),
            ("control-moved-6", "moved with 5 bytes instead of 4.", up(71, b"\x03\0\0\0\0\0", c=True, k=True)),
            ("control-moved-epoch", "moved with a whole epoch.", up(71, b"\x03" + CURRENT.epoch, c=True, k=True)),
        ],
    )
    add_table(
        cases,
        "server-session",
        "content/close_with_c",
        [
            ("control-close-c", "close asks for no acknowledgement.", up(71, b"\x02", c=True, k=True)),
            (
                "control-close-c-a",
                "The same behind an ack block.",
                up(71, b"\x02", c=True, k=True, ack=codec.ack_encode(2)),
            ),
        ],
    )


def _content_on_device(cases: Cases) -> None:
    down = CURRENT.down
    add_table(cases, "device-session", "content/short_ack_block", _malformed_blocks("down", down))
    add_table(cases, "device-session", "content/empty_control", _empty_controls("down", down))
    add_table(
        cases,
        "device-session",
        "content/acknowledged_never_sent",
        _never_sent(
            "down",
            down,
            [
                ("012c00", "300, and the device has sent 0 to 299."),
                ("012d01", "301 and 300."),
                ("ffff00", "65,535."),
                ("000001", "A bit for -1."),
                ("000780", "A bit for -1, the eighth before 7."),
            ],
        ),
    )
    add_table(
        cases,
        "device-session",
        "content/control_wrong_direction",
        [
            ("control-close-to-device", "close goes to servers.", down(71, b"\x02", k=True)),
            ("control-moved-to-device", "moved goes to servers.", down(71, b"\x03\0\0\0\x01", c=True, k=True)),
        ],
    )


def _rotate_content(cases: Cases) -> None:
    def rotate_to(generation: int, r: bytes) -> codec.Sealed:
        return CURRENT.down(71, b"\x01" + u8(generation) + r, c=True, k=True)

    r0, key, device_id = fixed_bytes("r0 negative", 16), ALICE.rotation_key, ALICE.device_id
    r = rotate(key, device_id, 1, r0).r
    add_table(
        cases,
        "device-session",
        "content/control_length",
        [
            ("control-rotate-1", "rotate without anything.", CURRENT.down(71, b"\x01", c=True, k=True)),
            ("control-rotate-18", "rotate with r0 alone.", rotate_to(2, r[:16])),
            ("control-rotate-33", "rotate with a byte of r missing.", rotate_to(2, r[:31])),
            ("control-rotate-35", "rotate with a byte behind r.", rotate_to(2, r + b"\0")),
        ],
    )
    add_table(
        cases,
        "device-session",
        "content/rotate_not_proven",
        [
            ("rotate-r0-flipped", "A bit of r0 flipped.", rotate_to(2, bytes([r[0] ^ 1]) + r[1:])),
            ("rotate-proof-flipped", "A bit of the proof flipped.", rotate_to(2, r[:31] + bytes([r[31] ^ 0x80]))),
            ("rotate-zeros", "r of zeros.", rotate_to(2, bytes(32))),
            (
                "rotate-under-device-key",
                "Made by a thief of device_key, who has no rotation_key.",
                rotate_to(2, rotate(ALICE.key, device_id, 1, r0).r),
            ),
            (
                "rotate-under-another-rotation-key",
                "Made with another device's rotation_key.",
                rotate_to(2, rotate(BOB.rotation_key, device_id, 1, r0).r),
            ),
            (
                "rotate-for-another-device",
                "Proves itself for another device id.",
                rotate_to(2, rotate(key, BOB.device_id, 1, r0).r),
            ),
            (
                "rotate-for-another-generation",
                "Proves itself for generation 3, sent as 2.",
                rotate_to(2, rotate(key, device_id, 2, r0).r),
            ),
            (
                "rotate-last-half-of-mac",
                "The last 16 bytes of the HMAC instead of the first.",
                rotate_to(2, r0 + rotate(key, device_id, 1, r0).mac[16:]),
            ),
        ],
    )
