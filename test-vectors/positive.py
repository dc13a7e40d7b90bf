"""Datagrams that verify, with every value on the way: hello, welcome, floor, data, reset, control."""

import codec
from fleet import ALICE, BOB, CAROL, Device, Session, salt, session
from keys import epoch_bytes, rotate, salt_without_rng, u8
from primitives import fixed_bytes


def _case(name: str, description: str, inputs: dict, sealed: codec.Sealed) -> dict:
    return {"name": name, "description": description, **inputs, **sealed.values()}


def _device(device: Device) -> dict:
    return {
        "suite": 1,
        "generation": device.generation,
        "device_id": device.device_id.hex(),
        "device_key": device.key.hex(),
    }


def _epoch(epoch: bytes) -> dict:
    return {
        "epoch": epoch.hex(),
        "boot_count": int.from_bytes(epoch[:4], "big"),
        "hello_count": int.from_bytes(epoch[4:], "big"),
    }


# --- hello -----------------------------------------------------------------------------------


def hello_cases() -> list[dict]:
    table = [
        ("empty", "A Hello without payload: 37 bytes.", ALICE, 1, 0, None, b""),
        ("early-data", "A Hello that carries a payload.", ALICE, 1, 1, None, b"21.5 C"),
        ("one-byte", "The shortest early data.", ALICE, 7, 2, None, b"\x00"),
        ("generation-2", "Generation bits 10.", CAROL, 3, 0, None, b"two"),
        ("generation-3", "Generation bits 11.", Device(ALICE.device_id, 3), 3, 1, None, b"three"),
        (
            "generation-4",
            "Generation bits 00: the bits are the generation mod 4.",
            Device(ALICE.device_id, 4),
            3,
            2,
            None,
            b"",
        ),
        ("generation-5", "Generation bits 01, the key is that of generation 5.", BOB, 9, 0, None, b"five"),
        ("generation-255", "The last generation, bits 11.", Device(BOB.device_id, 255), 2**20, 17, None, b"last"),
        ("last-count", "The last Hello of a boot.", ALICE, 12, 0xFFFF, None, b""),
        ("last-boot", "The highest boot count that a server accepts.", ALICE, 0xFEFFFFFF, 0xFFFF, None, b"end"),
        ("no-rng", "The salt is derived from the epoch: a device without an RNG.", ALICE, 21, 3, "derived", b"no rng"),
        ("salt-high", "The highest salt that is not all ones.", ALICE, 22, 0, b"\xff" * 5 + b"\xfe", b"high"),
        ("long", "256 bytes of early data.", BOB, 30, 0, None, fixed_bytes("hello long", 256)),
    ]
    return [_hello_case(*row) for row in table]


def _hello_case(name, description, device, boot, count, chosen_salt, payload) -> dict:
    epoch = epoch_bytes(boot, count)
    if chosen_salt == "derived":
        hello_salt = salt_without_rng(device.key, epoch)
    else:
        hello_salt = salt(f"hello {name}") if chosen_salt is None else chosen_salt
    inputs = {**_device(device), **_epoch(epoch), "salt": hello_salt.hex(), "payload": payload.hex()}
    return _case(name, description, inputs, device.hello(epoch, hello_salt, payload))


# --- welcome ---------------------------------------------------------------------------------


def welcome_cases() -> list[dict]:
    table = [
        ("cid-1", "A cid of one byte, no early data: 28 bytes.", ALICE, codec.cid_encode(1, 5), b""),
        ("cid-1-taken", "E: the Hello's payload was taken.", ALICE, codec.cid_encode(1, 63), b"21.5 C"),
        ("cid-2", "A cid of two bytes.", BOB, codec.cid_encode(2, 64), b"x"),
        ("cid-3", "A cid of three bytes.", CAROL, codec.cid_encode(3, 1_000_000), b""),
        ("cid-4", "A cid of four bytes: 31 bytes.", ALICE, codec.cid_encode(4, 2**30 - 1), b"y"),
        ("cid-4-zero", "The value 0 in four bytes is another cid than 0 in one.", ALICE, codec.cid_encode(4, 0), b""),
    ]
    return [_welcome_case(index, *row) for index, row in enumerate(table)]


def _welcome_case(index, name, description, device, cid, early_data) -> dict:
    made = session(device, f"welcome {name}", 5, index, cid, early_data)
    inputs = {
        **_device(device),
        **_epoch(made.epoch),
        "salt": made.salt.hex(),
        "echo": made.salt[:2].hex(),
        "server_salt": made.server_salt.hex(),
        "cid": cid.hex(),
        "early_data_taken": bool(early_data),
        "hello": made.hello().datagram.hex(),
    }
    return _case(name, description, inputs, made.welcome())


# --- floor -----------------------------------------------------------------------------------


def floor_cases() -> list[dict]:
    table = [
        ("erased", "The device's counter was erased: boot 1 against 41 boots known.", ALICE, (1, 0), (41, 3)),
        ("same-epoch", "The floor is the Hello's own epoch: equal in epoch but not in bytes.", BOB, (9, 1), (9, 1)),
        ("same-boot", "The floor is an epoch of this very boot; the next count is enough.", ALICE, (12, 3), (12, 7)),
        (
            "raised",
            "A restored server's floor: the high-water mark and count FFFF.",
            CAROL,
            (70, 0),
            (2**20 + 41, 0xFFFF),
        ),
        ("highest", "The highest floor that a device obeys.", ALICE, (2, 0), (0xFEFFFFFE, 0xFFFF)),
    ]
    return [_floor_case(*row) for row in table]


def _floor_case(name, description, device, at, newest) -> dict:
    epoch, newest = epoch_bytes(*at), epoch_bytes(*newest)
    hello_salt = salt(f"floor {name}")
    inputs = {
        **_device(device),
        **_epoch(epoch),
        "salt": hello_salt.hex(),
        "echo": hello_salt[:2].hex(),
        "floor": newest.hex(),
        "hello": device.hello(epoch, hello_salt).datagram.hex(),
    }
    return _case(name, description, inputs, device.floor(epoch, hello_salt, newest))


# --- data ------------------------------------------------------------------------------------

ONE = session(ALICE, "data one", 6, 0, codec.cid_encode(1, 5))
TWO = session(BOB, "data two", 6, 1, codec.cid_encode(2, 300))
THREE = session(CAROL, "data three", 6, 2, codec.cid_encode(3, 70_000))
FOUR = session(ALICE, "data four", 6, 3, codec.cid_encode(4, 0x12345678))


def _session(made: Session, direction: str) -> dict:
    return {
        **_device(made.device),
        **_epoch(made.epoch),
        "salt": made.salt.hex(),
        "server_salt": made.server_salt.hex(),
        "cid": made.cid.hex(),
        "direction": direction,
    }


def data_cases() -> list[dict]:
    ack = codec.ack_encode
    table = [
        ("up-first", "The first Data of a session carries C.", ONE, "up", 0, None, b"hello", {"c": True}),
        (
            "up-one-byte",
            "One byte of sequence number: 19 bytes and the payload.",
            ONE,
            "up",
            1,
            0,
            b"22.0 C",
            {"seq_len": 1},
        ),
        ("up-smallest", "No payload and one byte each: 19 bytes.", ONE, "up", 2, 1, b"", {"seq_len": 1}),
        ("up-one-byte-300", "Low byte 2c, rebuilt near 299.", ONE, "up", 300, 298, b"300", {"seq_len": 1}),
        ("up-none-verified", "One byte before anything was verified.", TWO, "up", 127, None, b"127", {"seq_len": 1}),
        ("up-two-bytes", "S without C.", TWO, "up", 0x1234, 0x1200, b"sparse", {}),
        ("up-c-a", "C and an ack block.", TWO, "up", 40, 39, b"ack me", {"c": True, "ack": ack(7, {6, 5, 0})}),
        (
            "up-pure-ack",
            "An ack block and nothing else: a pure acknowledgement.",
            TWO,
            "up",
            41,
            40,
            b"",
            {"seq_len": 1, "ack": ack(8, {7})},
        ),
        ("up-last", "The last number.", THREE, "up", 0xFFFF, 0xFFFE, b"last", {}),
        ("up-last-one-byte", "The last number in one byte.", THREE, "up", 0xFFFF, 0xFF80, b"last", {"seq_len": 1}),
        (
            "up-control",
            "K: the payload is a control message of an unknown kind.",
            THREE,
            "up",
            9,
            8,
            b"\x7f\x01",
            {"k": True},
        ),
        (
            "up-four-byte-cid",
            "Four bytes of cid, two of number: 23 bytes and the payload.",
            FOUR,
            "up",
            256,
            200,
            b"far",
            {},
        ),
        (
            "down-first",
            "The first number downwards is 0 too, under another key.",
            ONE,
            "down",
            0,
            None,
            b"",
            {"ack": ack(0)},
        ),
        (
            "down-command",
            "A command: C, an ack block, a payload.",
            ONE,
            "down",
            1,
            0,
            b"unlock",
            {"c": True, "ack": ack(10, set(range(2, 10)))},
        ),
        (
            "down-one-byte",
            "One byte of number and an ack block.",
            FOUR,
            "down",
            5,
            4,
            b"cmd",
            {"seq_len": 1, "ack": ack(0xFFFF, {0xFFFE})},
        ),
        ("down-all", "S, C, A and K at once.", TWO, "down", 77, 76, b"\x7e", {"c": True, "ack": ack(3), "k": True}),
        ("down-long", "1,024 bytes of payload.", THREE, "down", 2, 1, fixed_bytes("down long", 1024), {"c": True}),
    ]
    return [_data_case(*row) for row in table]


def _data_case(name, description, made, direction, number, highest, payload, how) -> dict:
    send = made.up if direction == "up" else made.down
    return _case(
        name, description, _data_inputs(made, direction, number, highest, payload, how), send(number, payload, **how)
    )


def _data_inputs(made, direction, number, highest, payload, how) -> dict:
    return {
        **_session(made, direction),
        "number": number,
        "seq_len": how.get("seq_len", 2),
        "receiver_highest_verified": highest,
        "c": how.get("c", False),
        "k": how.get("k", False),
        "ack_block": how["ack"].hex() if "ack" in how else None,
        "payload": payload.hex(),
    }


# --- reset -----------------------------------------------------------------------------------


def reset_cases() -> list[dict]:
    table = [
        ("smallest", "Answers a Data with one byte each: 19 bytes.", ONE, 3, 1, 2),
        ("two-bytes", "Answers the first Data of a session, which carries C and so S.", ONE, 0, 2, None),
        ("one-byte-none-acknowledged", "One byte, nothing acknowledged yet.", TWO, 100, 1, None),
        ("one-byte-later", "Low byte 04: the number nearest to one past the highest acknowledged.", TWO, 260, 1, 250),
        ("cid-3", "A cid of three bytes.", THREE, 0xFF00, 2, 0xFEFF),
        ("longest", "Four bytes of cid, two of number: 23 bytes.", FOUR, 0xFFFF, 2, 0xFF00),
    ]
    return [_reset_case(*row) for row in table]


def _reset_case(name, description, made, number, seq_len, acknowledged) -> dict:
    inputs = {
        **_session(made, "down"),
        "number": number,
        "seq_len": seq_len,
        "device_highest_acknowledged": acknowledged,
        "answers": made.up(number, b"?", seq_len=seq_len).datagram.hex(),
    }
    return _case(name, description, inputs, made.reset(number, seq_len))


# --- control ---------------------------------------------------------------------------------


def control_cases() -> list[dict]:
    new = rotate(ALICE.rotation_key, ALICE.device_id, 1, fixed_bytes("r0 control", 16))
    last = rotate(BOB.rotation_key, BOB.device_id, 254, fixed_bytes("r0 last", 16))
    veteran = session(Device(BOB.device_id, 254), "control veteran", 800, 0, codec.cid_encode(1, 40))
    retired = session(Device(BOB.device_id, 255), "control retired", 801, 0, codec.cid_encode(1, 41))
    rotate_1 = b"\x01" + u8(2) + new.r
    ack = codec.ack_encode
    table = [
        (
            "rotate",
            "rotate to generation 2: 34 bytes.",
            ONE,
            "down",
            4,
            rotate_1,
            {"c": True, "ack": ack(6)},
            "accepted",
        ),
        ("rotate-no-ack-block", "The same message alone.", ONE, "down", 0, rotate_1, {"c": True}, "accepted"),
        (
            "rotate-to-255",
            "The last generation.",
            veteran,
            "down",
            0,
            b"\x01" + u8(255) + last.r,
            {"c": True},
            "accepted",
        ),
        (
            "rotate-old",
            "rotate to the generation that the session is under.",
            ONE,
            "down",
            5,
            b"\x01" + u8(1) + new.r,
            {"c": True},
            "ignored",
        ),
        (
            "rotate-skips",
            "rotate two generations ahead.",
            ONE,
            "down",
            6,
            b"\x01" + u8(3) + new.r,
            {"c": True},
            "ignored",
        ),
        (
            "rotate-past-255",
            "Generation 255 is the last: 0 is not the next.",
            retired,
            "down",
            0,
            b"\x01" + u8(0) + last.r,
            {"c": True},
            "ignored",
        ),
        ("close", "close: one byte, without C.", ONE, "up", 8, b"\x02", {}, "accepted"),
        (
            "close-one-byte",
            "close in the smallest Data that holds it: 20 bytes.",
            ONE,
            "up",
            9,
            b"\x02",
            {"seq_len": 1},
            "accepted",
        ),
        (
            "moved",
            "moved: the boot counter was 1 before a Floor moved it.",
            TWO,
            "up",
            0,
            b"\x03" + (1).to_bytes(4, "big"),
            {"c": True},
            "accepted",
        ),
        ("moved-from-0", "moved from 0.", FOUR, "up", 0, b"\x03" + bytes(4), {"c": True}, "accepted"),
        (
            "unknown-up",
            "An unknown kind is ignored and acknowledged.",
            TWO,
            "up",
            3,
            b"\x04rest",
            {"c": True},
            "ignored",
        ),
        ("unknown-down", "Kind 00 is unknown too.", TWO, "down", 3, b"\x00", {"c": True}, "ignored"),
        ("unknown-ff", "Kind ff, any length.", THREE, "down", 4, b"\xff" * 40, {"c": True}, "ignored"),
    ]
    return [_control_case(*row) for row in table]


def _control_case(name, description, made, direction, number, message, how, outcome) -> dict:
    highest = number - 1 if number else None
    inputs = _data_inputs(made, direction, number, highest, message, {**how, "k": True})
    inputs["rotation_key"] = made.device.rotation_key.hex()
    inputs["kind"] = {1: "rotate", 2: "close", 3: "moved"}.get(message[0], "unknown")
    inputs["outcome"] = outcome
    new_key = None
    if inputs["kind"] == "rotate" and outcome == "accepted":
        new_key = rotate(
            made.device.rotation_key, made.device.device_id, made.device.generation, message[2:18]
        ).device_key
    inputs["new_device_key"] = new_key.hex() if new_key else None
    send = made.up if direction == "up" else made.down
    return _case(name, description, inputs, send(number, message, k=True, **how))
