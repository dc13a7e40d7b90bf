"""Negative cases that end at open: the wrong key, nonce or aad, or datagrams spliced together."""

import codec
from contexts import (
    BOBS,
    CID_ALICE,
    CURRENT,
    NEXT,
    OLDER,
)
from fleet import ALICE, BOB, CAROL, Device, Session, salt, server_salt
from keys import epoch_bytes, floor_key
from negative import Cases, add_table
from primitives import TAG_LEN, seal

NEW_EPOCH, NEW_SALT = epoch_bytes(5, 0), salt("negative new")


def add_wrong_key(cases: Cases) -> None:
    _hello(cases)
    _data_on_server(cases)
    _welcome(cases)
    _floor(cases)
    _in_session_on_device(cases)


def _sealed_with(key: bytes, nonce: bytes, aad: bytes, plaintext: bytes, header: bytes) -> bytes:
    """For datagrams that no honest sender makes."""
    return header + b"".join(seal(key, nonce, aad, plaintext))


def _hello(cases: Cases) -> None:
    good = ALICE.hello(NEW_EPOCH, NEW_SALT, b"22.0 C")
    header, nonce = good.datagram[:21], NEW_EPOCH + NEW_SALT
    other = ALICE.hello(NEW_EPOCH, salt("negative other"), b"22.0 C")
    bob_as_alice = codec.hello(BOB.key, ALICE.device_id, 1, NEW_EPOCH, NEW_SALT)
    later = codec.hello(Device(ALICE.device_id, 5).key, ALICE.device_id, 5, NEW_EPOCH, NEW_SALT)
    swapped = codec.hello(Device(CAROL.device_id, 3).key, CAROL.device_id, 2, NEW_EPOCH, NEW_SALT)
    rows = [
        ("hello-wrong-device-key", "Sealed by another device of the fleet that claims this id.", bob_as_alice),
        (
            "hello-pasted-id",
            "Another device's Hello with this id pasted over its own.",
            _paste(BOB.hello(NEW_EPOCH, NEW_SALT).datagram, 1, ALICE.device_id),
        ),
        ("hello-wrong-generation-same-bits", "Generation 5 has the bits of generation 1, not its key.", later),
        (
            "hello-generation-bits-swapped",
            "Two keys held: sealed under generation 3, bits of generation 2. Nothing is tried twice.",
            swapped,
        ),
        (
            "hello-under-device-key",
            "Sealed under device_key itself.",
            _sealed_with(ALICE.key, nonce, header[:9], b"", header),
        ),
        (
            "hello-aad-whole-header",
            "aad is the whole header instead of flags || device_id.",
            _sealed_with(good.key, nonce, header, b"", header),
        ),
        ("hello-aad-flags-only", "aad is the flags alone.", _sealed_with(good.key, nonce, header[:1], b"", header)),
        (
            "hello-nonce-salt-first",
            "nonce is salt || epoch.",
            _sealed_with(good.key, NEW_SALT + NEW_EPOCH, header[:9], b"", header),
        ),
        (
            "hello-salt-replaced",
            "The ciphertext and tag of one Hello behind the salt of another.",
            other.datagram[:21] + good.datagram[21:],
        ),
        ("hello-cut-payload", "One byte of the ciphertext missing.", good.datagram[:26] + good.datagram[27:]),
        ("hello-cut-tag", "The last byte of the tag missing: 42 bytes are still a Hello.", good.datagram[:-1]),
        ("hello-trailing-byte", "One byte behind the tag.", good.datagram + b"\0"),
        ("hello-trailing-tag", "A second tag behind the tag.", good.datagram + good.tag),
        ("hello-tag-zero", "A tag of zeros.", good.datagram[:-TAG_LEN] + bytes(TAG_LEN)),
        ("hello-zeros", "The id and nothing but zeros after it.", header[:9] + bytes(28)),
    ]
    add_table(cases, "server-session", "open/bad_tag", rows)


def _paste(datagram: bytes, at: int, what: bytes) -> bytes:
    return datagram[:at] + what + datagram[at + len(what) :]


def _retype(datagram: bytes, flags: int) -> bytes:
    return bytes([flags]) + datagram[1:]


def _data_on_server(cases: Cases) -> None:
    good = CURRENT.up(71, b"22.5 C", c=True)
    cid_of_alice = Session(BOB, BOBS.epoch, BOBS.salt, BOBS.server_salt, CID_ALICE)
    header = good.aad
    rows = [
        ("data-reflected", "The server's own Data, reflected.", CURRENT.down(71, b"unlock", c=True)),
        ("data-older-session", "The same device's older session with the same cid.", OLDER.up(71, b"old")),
        ("data-wrong-device", "Another device's session keys under this cid.", cid_of_alice.up(71, b"mine")),
        (
            "data-pasted-cid",
            "Another session's Data with this session's cid pasted over its own.",
            _paste(NEXT.up(71, b"x").datagram, 1, CID_ALICE),
        ),
        (
            "data-one-byte-too-far",
            "One byte for number 327: the server takes 71 for it.",
            CURRENT.up(327, b"far", seq_len=1),
        ),
        (
            "data-nonce-low-byte",
            "The nonce holds the byte of the wire, not the full number.",
            _sealed_with(good.key, codec.data_nonce(0x2C), bytes.fromhex("6805012c"), b"x", bytes.fromhex("6805012c")),
        ),
        (
            "data-nonce-of-welcome",
            "First nonce byte 01.",
            _sealed_with(good.key, b"\x01" + bytes(9) + b"\0\x47", header, b"x", header),
        ),
        (
            "data-nonce-of-reset",
            "First nonce byte 03.",
            _sealed_with(good.key, codec.reset_nonce(71), header, b"x", header),
        ),
        (
            "data-nonce-little-endian",
            "The number little-endian in the nonce.",
            _sealed_with(good.key, codec.data_nonce(0x4700), header, b"x", header),
        ),
        ("data-no-aad", "Sealed without aad.", _sealed_with(good.key, good.nonce, b"", b"x", header)),
        (
            "data-control-made-of-payload",
            "K set on a Data whose payload is 02, so that it would close.",
            _retype(CURRENT.up(71, b"\x02").datagram, 0x69),
        ),
        (
            "data-payload-made-of-control",
            "K cleared on a close.",
            _retype(CURRENT.up(71, b"\x02", k=True).datagram, 0x68),
        ),
        (
            "data-ack-block-made-of-payload",
            "A set on a Data whose payload could be a block.",
            _retype(CURRENT.up(71, bytes(3)).datagram, 0x6A),
        ),
        (
            "data-payload-made-of-ack-block",
            "A cleared on a pure acknowledgement.",
            _retype(CURRENT.up(71, ack=bytes(3)).datagram, 0x68),
        ),
        ("data-reset-retyped", "A Reset turned into an empty Data.", _retype(CURRENT.reset(71).datagram, 0x68)),
        (
            "data-longer-number",
            "A one-byte number widened to two bytes.",
            b"\x68\x05\x00" + CURRENT.up(71, b"x", seq_len=1).datagram[2:],
        ),
        ("data-cut-ciphertext", "One byte of the ciphertext missing.", good.datagram[:4] + good.datagram[5:]),
        ("data-cut-tag", "The last byte of the tag missing.", good.datagram[:-1]),
        ("data-trailing-byte", "One byte behind the tag.", good.datagram + b"\0"),
        ("data-tag-zero", "A tag of zeros.", good.datagram[:-TAG_LEN] + bytes(TAG_LEN)),
        (
            "data-tags-swapped",
            "The tag of another Data of this session.",
            good.datagram[:-TAG_LEN] + CURRENT.up(72, b"22.5 C", c=True).tag,
        ),
        ("data-twice", "Two Data in one datagram.", good.datagram * 2),
    ]
    add_table(cases, "server-session", "open/bad_tag", rows)
    add_table(
        cases,
        "server-candidate",
        "open/bad_tag",
        [
            (
                "data-older-under-candidate",
                "The older session's Data under the candidate's cid does not confirm it.",
                OLDER.up(0, b"old", c=True),
            ),
            (
                "data-reflected-under-candidate",
                "Data sealed under down_key does not confirm a candidate.",
                CURRENT.down(0, b"x", c=True),
            ),
        ],
    )
    add_table(
        cases,
        "server-restarted",
        "open/bad_tag",
        [
            (
                "data-forged-after-restart",
                "A forgery under an entry without counters gets no Reset.",
                _paste(good.datagram, len(good.datagram) - 1, b"\0"),
            ),
            (
                "data-one-byte-after-restart",
                "One byte for number 327, rebuilt as 71: fails, and is not counted as a forgery.",
                CURRENT.up(327, b"far", seq_len=1),
            ),
        ],
    )


def _welcome(cases: Cases) -> None:
    good = NEXT.welcome()
    header = good.aad
    colliding = Session(ALICE, epoch_bytes(4, 1), NEXT.salt[:2] + bytes(4), NEXT.server_salt, NEXT.cid)
    older = Session(Device(ALICE.device_id, 2), NEXT.epoch, NEXT.salt, NEXT.server_salt, NEXT.cid)
    other = Session(BOB, NEXT.epoch, NEXT.salt, NEXT.server_salt, NEXT.cid)
    add_table(
        cases,
        "device-hello",
        "open/bad_tag",
        [
            ("welcome-colliding-echo", "A Welcome for an earlier Hello whose salt begins alike.", colliding.welcome()),
            ("welcome-wrong-generation", "Keys of generation 2.", older.welcome()),
            ("welcome-wrong-device", "Another device's keys, the same epoch and salts.", other.welcome()),
            (
                "welcome-under-up-key",
                "Sealed under up_key.",
                codec.welcome(NEXT.up_key, NEXT.salt, NEXT.server_salt, NEXT.cid, True),
            ),
            (
                "welcome-pasted-server-salt",
                "The server_salt of another Welcome.",
                _paste(good.datagram, 3, server_salt("negative pasted")),
            ),
            ("welcome-nonce-zero", "A nonce of zeros.", _sealed_with(good.key, bytes(12), header, NEXT.cid, header)),
            (
                "welcome-nonce-of-data",
                "First nonce byte 02.",
                _sealed_with(good.key, codec.data_nonce(0), header, NEXT.cid, header),
            ),
            (
                "welcome-nonce-of-hello",
                "The Hello's nonce.",
                _sealed_with(good.key, NEXT.epoch + NEXT.salt, header, NEXT.cid, header),
            ),
            ("welcome-no-aad", "Sealed without aad.", _sealed_with(good.key, good.nonce, b"", NEXT.cid, header)),
            (
                "welcome-e-cleared",
                "E cleared: the device would take its payload for lost.",
                _retype(good.datagram, 0x50),
            ),
            ("welcome-trailing-byte", "29 bytes: the shortest Welcome and one more.", good.datagram + b"\0"),
            ("welcome-tag-zero", "A tag of zeros.", good.datagram[:-TAG_LEN] + bytes(TAG_LEN)),
        ],
    )
    add_table(
        cases,
        "device-renewing",
        "open/bad_tag",
        [
            (
                "welcome-forged-while-renewing",
                "A forged Welcome leaves session and Hello as they are.",
                _paste(good.datagram, 11, b"\xff"),
            ),
        ],
    )


def _floor(cases: Cases) -> None:
    newest = epoch_bytes(41, 3)
    good = ALICE.floor(NEXT.epoch, NEXT.salt, newest)
    header, nonce = good.aad, NEXT.epoch + NEXT.salt
    other_key = floor_key(ALICE.key, ALICE.device_id, epoch_bytes(41, 4))
    hello_key = NEXT.hello().key
    colliding = ALICE.floor(epoch_bytes(4, 1), NEXT.salt[:2] + bytes(4), newest)
    add_table(
        cases,
        "device-hello",
        "open/bad_tag",
        [
            ("floor-colliding-echo", "A Floor for an earlier Hello whose salt begins alike.", colliding),
            ("floor-wrong-device", "Another device's key.", BOB.floor(NEXT.epoch, NEXT.salt, newest)),
            (
                "floor-wrong-generation",
                "Key of generation 2.",
                Device(ALICE.device_id, 2).floor(NEXT.epoch, NEXT.salt, newest),
            ),
            ("floor-pasted", "Another floor pasted over the sealed one.", _paste(good.datagram, 3, epoch_bytes(42, 0))),
            (
                "floor-key-of-another-floor",
                "Sealed under the key of the next floor.",
                _sealed_with(other_key, nonce, header, b"", header),
            ),
            ("floor-under-hello-key", "Sealed under hello_key.", _sealed_with(hello_key, nonce, header, b"", header)),
            (
                "floor-under-down-key",
                "Sealed under a session's down_key.",
                _sealed_with(NEXT.down_key, nonce, header, b"", header),
            ),
            (
                "floor-nonce-of-welcome",
                "The nonce of a Welcome.",
                _sealed_with(good.key, b"\x01" + bytes(11), header, b"", header),
            ),
            ("floor-no-aad", "Sealed without aad.", _sealed_with(good.key, nonce, b"", b"", header)),
            ("floor-made-of-hello", "The tag of the device's own Hello.", header + NEXT.hello().tag),
            ("floor-tag-zero", "A tag of zeros.", header + bytes(TAG_LEN)),
        ],
    )


def _in_session_on_device(cases: Cases) -> None:
    good = CURRENT.down(71, b"unlock", c=True)
    add_table(
        cases,
        "device-session",
        "open/bad_tag",
        [
            ("data-down-reflected", "The device's own Data, reflected.", CURRENT.up(71, b"22.5 C", c=True)),
            ("data-down-older-session", "The older session with the same cid.", OLDER.down(71, b"old")),
            (
                "data-down-one-byte-too-far",
                "One byte for number 327: the device takes 71 for it.",
                CURRENT.down(327, b"far", seq_len=1),
            ),
            (
                "data-down-nonce-of-reset",
                "First nonce byte 03.",
                _sealed_with(good.key, codec.reset_nonce(71), good.aad, b"x", good.aad),
            ),
            (
                "data-down-made-of-reset",
                "A Reset turned into an empty Data.",
                _retype(CURRENT.reset(71).datagram, 0x68),
            ),
            ("data-down-cut-tag", "The last byte of the tag missing.", good.datagram[:-1]),
            ("data-down-trailing-byte", "One byte behind the tag.", good.datagram + b"\0"),
            (
                "reset-made-of-data",
                "An empty Data of the server turned into a Reset.",
                _retype(CURRENT.down(10).datagram, 0x78),
            ),
            (
                "reset-made-of-own-data",
                "An empty Data of the device turned into a Reset.",
                _retype(CURRENT.up(10).datagram, 0x78),
            ),
            ("reset-under-up-key", "Sealed under up_key.", codec.reset(CURRENT.up_key, CID_ALICE, 10, 2)),
            ("reset-older-session", "A Reset of the older session with the same cid.", OLDER.reset(10)),
            ("reset-nonce-of-data", "First nonce byte 02.", codec.data(CURRENT.down_key, CID_ALICE, 10, flags=0x78)),
            (
                "reset-number-pasted",
                "A Reset for 10 with 11 pasted over it.",
                _paste(CURRENT.reset(10).datagram, 2, b"\0\x0b"),
            ),
            ("reset-one-byte-too-far", "One byte for number 266: the device takes 10 for it.", CURRENT.reset(266, 1)),
            ("reset-tag-zero", "A tag of zeros.", CURRENT.reset(10).aad + bytes(TAG_LEN)),
        ],
    )
