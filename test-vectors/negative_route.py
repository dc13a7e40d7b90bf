"""Negative cases that end at route: no key can be picked, so no cryptography is done."""

import codec
from contexts import (
    BOBS,
    CID_ALICE,
    CURRENT,
    DAVES,
    ERINS,
    NEXT,
    STRANGER,
)
from fleet import ALICE, CAROL, Device, Session, salt, server_salt, session
from keys import epoch_bytes
from negative import Cases, add_table

NEW_EPOCH, NEW_SALT = epoch_bytes(5, 0), salt("negative new")


def add_wrong_place(cases: Cases) -> None:
    _on_server(cases)
    _on_device(cases)


def _on_server(cases: Cases) -> None:
    floor = ALICE.floor(NEXT.epoch, NEXT.salt, NEXT.epoch)
    add_table(
        cases,
        "server-session",
        "route/wrong_direction",
        [
            ("welcome-to-server", "A server's own Welcome, reflected.", CURRENT.welcome()),
            ("floor-to-server", "A server's own Floor, reflected.", floor),
            ("reset-to-server", "A server's own Reset, reflected.", CURRENT.reset(71)),
        ],
    )
    zero = Device(bytes(8))
    add_table(
        cases,
        "server-session",
        "route/unknown_device",
        [
            (
                "hello-unknown-device",
                "The id is in no record; the tag would verify.",
                STRANGER.hello(NEW_EPOCH, NEW_SALT),
            ),
            ("hello-zero-id", "Id 0, in no record.", zero.hello(NEW_EPOCH, NEW_SALT)),
            (
                "hello-id-reversed",
                "A known id, bytes in the wrong order.",
                Device(ALICE.device_id[::-1]).hello(NEW_EPOCH, NEW_SALT),
            ),
        ],
    )
    add_table(
        cases,
        "server-session",
        "route/device_not_active",
        [
            (
                "hello-revoked",
                "A fresh Hello of a revoked device.",
                DAVES.device.hello(NEW_EPOCH, NEW_SALT, b"let me in"),
            ),
            ("hello-quarantined", "A fresh Hello of a quarantined device.", ERINS.device.hello(NEW_EPOCH, NEW_SALT)),
            ("data-revoked", "Data in the session that a revoked device had.", DAVES.up(0, b"still here", c=True)),
            (
                "data-quarantined",
                "Data in the session that a quarantined device had.",
                ERINS.up(0, b"still here", c=True),
            ),
        ],
    )
    carol_1, carol_4 = Device(CAROL.device_id, 1), Device(CAROL.device_id, 4)
    add_table(
        cases,
        "server-session",
        "route/unknown_generation",
        [
            (
                "hello-next-generation",
                "Generation 2 before any rotation was begun.",
                Device(ALICE.device_id, 2).hello(NEW_EPOCH, NEW_SALT),
            ),
            (
                "hello-erased-generation",
                "Generation 1, erased: the server holds 2 and 3.",
                carol_1.hello(NEW_EPOCH, NEW_SALT),
            ),
            ("hello-two-ahead", "Generation 4: the server holds 2 and 3.", carol_4.hello(NEW_EPOCH, NEW_SALT)),
        ],
    )
    same_value = Session(ALICE, CURRENT.epoch, CURRENT.salt, CURRENT.server_salt, codec.cid_encode(2, 5))
    rows = [
        (f"data-unknown-cid-{n}", f"A cid of {n} bytes that no entry has.", _stray(n).up(0, b"who", c=True))
        for n in (1, 2, 3, 4)
    ]
    rows += [
        (
            "data-cid-of-other-length",
            "The value of a known cid in two bytes instead of one is another cid.",
            same_value.up(71, b"x"),
        ),
        ("data-not-opened", "Data under a Hello that the server has not answered.", NEXT.up(0, b"x", c=True)),
    ]
    add_table(cases, "server-session", "route/unknown_cid", rows)
    add_table(
        cases,
        "server-no-session",
        "route/unknown_cid",
        [
            (
                "data-dropped-entry",
                "Data in a session whose entry is gone: dropped in silence, no Reset.",
                CURRENT.up(71, b"x", c=True),
            ),
        ],
    )


def _stray(length: int) -> Session:
    return session(ALICE, f"negative stray {length}", 4, 4, codec.cid_encode(length, 17))


def _on_device(cases: Cases) -> None:
    add_table(
        cases,
        "device-session",
        "route/wrong_direction",
        [
            ("hello-to-device", "The device's own Hello, reflected.", CURRENT.hello()),
            ("hello-of-another-to-device", "Another device's Hello.", BOBS.hello()),
        ],
    )
    floor = ALICE.floor(CURRENT.epoch, CURRENT.salt, CURRENT.epoch)
    add_table(
        cases,
        "device-idle",
        "route/no_hello_outstanding",
        [
            ("welcome-unasked", "A Welcome to a device that has sent nothing.", CURRENT.welcome()),
            ("floor-unasked", "A Floor to a device that has sent nothing.", floor),
        ],
    )
    second = Session(ALICE, CURRENT.epoch, CURRENT.salt, server_salt("negative second"), CID_ALICE, CURRENT.early_data)
    add_table(
        cases,
        "device-session",
        "route/no_hello_outstanding",
        [
            ("welcome-again", "The session's own Welcome again: the Hello is consumed.", CURRENT.welcome()),
            ("welcome-second", "A second Welcome for a consumed Hello, with another server_salt.", second.welcome()),
            ("floor-after-welcome", "A Floor for a Hello that a Welcome consumed.", floor),
        ],
    )
    add_table(
        cases,
        "device-renewing",
        "route/echo_mismatch",
        [
            ("welcome-of-older-hello", "The Welcome of the session before, replayed.", CURRENT.welcome()),
            ("floor-of-older-hello", "A Floor for an older Hello, replayed.", floor),
            ("welcome-of-another", "Another device's Welcome.", BOBS.welcome()),
        ],
    )
    add_table(
        cases,
        "device-hello",
        "route/unknown_cid",
        [
            ("data-before-welcome", "Data under the answer that has not come yet.", NEXT.down(0, b"early")),
            ("reset-before-welcome", "A Reset without any session.", NEXT.reset(0)),
        ],
    )
    rows = [
        (f"data-down-unknown-cid-{n}", f"A cid of {n} bytes, not the session's.", _stray(n).down(0, b"who"))
        for n in (1, 2, 3, 4)
    ]
    rows += [
        (f"reset-unknown-cid-{n}", f"A Reset for a cid of {n} bytes, not the session's.", _stray(n).reset(10))
        for n in (1, 2, 3, 4)
    ]
    add_table(cases, "device-session", "route/unknown_cid", rows)
