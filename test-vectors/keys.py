"""Every key of the protocol and its label. Labels are ASCII, joined without lengths or NUL."""

import hmac
from dataclasses import dataclass

from primitives import hkdf_expand, hkdf_extract, hmac_sha256

SUITE = 1
KEY_LEN = 32


def u8(value: int) -> bytes:
    return value.to_bytes(1, "big")


def u16(value: int) -> bytes:
    return value.to_bytes(2, "big")


def epoch_bytes(boot: int, count: int) -> bytes:
    """6 bytes: boot counter (4), Hello count within that boot (2)."""
    return boot.to_bytes(4, "big") + count.to_bytes(2, "big")


FLEET_SALT = b"moteseal/1 fleet"
FLEET_ROTATION_SALT = b"moteseal/1 fleet rotation"


def fleet_info(generation: int, device_id: bytes) -> bytes:
    return b"device" + u8(generation) + device_id


def fleet_rotation_info(device_id: bytes) -> bytes:
    return b"rotation" + device_id


def fleet_device_key(fleet_key: bytes, generation: int, device_id: bytes) -> bytes:
    return hkdf_expand(hkdf_extract(FLEET_SALT, fleet_key), fleet_info(generation, device_id), KEY_LEN)


def fleet_rotation_key(rotation_root: bytes, device_id: bytes) -> bytes:
    prk = hkdf_extract(FLEET_ROTATION_SALT, rotation_root)
    return hkdf_expand(prk, fleet_rotation_info(device_id), KEY_LEN)


def hello_info(device_id: bytes) -> bytes:
    return b"moteseal/1 hello" + u8(SUITE) + device_id


def floor_info(device_id: bytes, floor: bytes) -> bytes:
    return b"moteseal/1 floor" + u8(SUITE) + device_id + floor


def session_info(device_id: bytes, epoch: bytes, salt: bytes, server_salt: bytes) -> bytes:
    return b"moteseal/1 session" + u8(SUITE) + device_id + epoch + salt + server_salt


def salt_info(epoch: bytes) -> bytes:
    return b"moteseal/1 salt" + epoch


def hello_key(device_key: bytes, device_id: bytes) -> bytes:
    return hkdf_expand(device_key, hello_info(device_id), KEY_LEN)


def floor_key(device_key: bytes, device_id: bytes, floor: bytes) -> bytes:
    return hkdf_expand(device_key, floor_info(device_id, floor), KEY_LEN)


def session_keys(
    device_key: bytes, device_id: bytes, epoch: bytes, salt: bytes, server_salt: bytes
) -> tuple[bytes, bytes]:
    """up_key (device to server), down_key (server to device)."""
    okm = hkdf_expand(device_key, session_info(device_id, epoch, salt, server_salt), 2 * KEY_LEN)
    return okm[:KEY_LEN], okm[KEY_LEN:]


def salt_without_rng(device_key: bytes, epoch: bytes) -> bytes:
    return hkdf_expand(device_key, salt_info(epoch), 6)


@dataclass(frozen=True)
class Rotation:
    """One step from generation g to g + 1, with every value on the way."""

    generation: int
    message: bytes
    mac: bytes
    r: bytes
    info: bytes
    prk: bytes
    device_key: bytes


def rotation_message(new_generation: int, device_id: bytes, r0: bytes) -> bytes:
    return b"moteseal/1 r" + u8(SUITE) + u8(new_generation) + device_id + r0


def rotate_info(new_generation: int, device_id: bytes) -> bytes:
    return b"moteseal/1 rotate" + u8(SUITE) + u8(new_generation) + device_id


def rotate(rotation_key: bytes, device_id: bytes, generation: int, r0: bytes) -> Rotation:
    new = generation + 1
    message = rotation_message(new, device_id, r0)
    mac = hmac_sha256(rotation_key, message)
    r = r0 + mac[:16]
    info = rotate_info(new, device_id)
    prk = hkdf_extract(rotation_key, r)
    return Rotation(new, message, mac, r, info, prk, hkdf_expand(prk, info, KEY_LEN))


def r_proves_itself(rotation_key: bytes, device_id: bytes, new_generation: int, r: bytes) -> bool:
    mac = hmac_sha256(rotation_key, rotation_message(new_generation, device_id, r[:16]))
    return hmac.compare_digest(mac[:16], r[16:])


def rotated_key(rotation_key: bytes, device_id: bytes, new_generation: int, r: bytes) -> bytes:
    """What a device that holds a proven r derives from it."""
    return hkdf_expand(hkdf_extract(rotation_key, r), rotate_info(new_generation, device_id), KEY_LEN)
