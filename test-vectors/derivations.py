"""Key derivations with their intermediate values, for keys.json."""

import keys
from fleet import ALICE, BOB, CAROL, FLEET_KEY, ROTATION_ROOT, Device, salt, server_salt
from keys import epoch_bytes
from primitives import fixed_bytes, hkdf_extract


def keys_groups() -> dict[str, list[dict]]:
    return {
        "device_keys": [
            _fleet(d) for d in (ALICE, BOB, CAROL, Device(ALICE.device_id, 2), Device(ALICE.device_id, 255))
        ],
        "rotation_keys": [_fleet_rotation(d) for d in (ALICE, BOB, CAROL)],
        "hello_keys": [_hello(d) for d in (ALICE, BOB, CAROL)],
        "floor_keys": [
            _floor(ALICE, 41, 3),
            _floor(ALICE, 41, 4),
            _floor(BOB, 2**20, 0xFFFF),
            _floor(CAROL, 0xFEFFFFFE, 0xFFFF),
        ],
        "session_keys": [
            _session(ALICE, 1, 0),
            _session(ALICE, 1, 1),
            _session(BOB, 9, 0),
            _session(CAROL, 2**24, 0xFFFF),
        ],
        "salts_without_rng": [_salt(ALICE, 1, 0), _salt(ALICE, 1, 1), _salt(BOB, 0x01020304, 0x0506)],
        "rotations": [_rotation(ALICE, 1), _rotation(CAROL, 2), _rotation(BOB, 254)],
    }


def _fleet(device: Device) -> dict:
    return {
        "fleet_key": FLEET_KEY.hex(),
        "generation": device.generation,
        "device_id": device.device_id.hex(),
        "salt": keys.FLEET_SALT.hex(),
        "prk": hkdf_extract(keys.FLEET_SALT, FLEET_KEY).hex(),
        "info": keys.fleet_info(device.generation, device.device_id).hex(),
        "device_key": device.key.hex(),
    }


def _fleet_rotation(device: Device) -> dict:
    return {
        "rotation_root": ROTATION_ROOT.hex(),
        "device_id": device.device_id.hex(),
        "salt": keys.FLEET_ROTATION_SALT.hex(),
        "prk": hkdf_extract(keys.FLEET_ROTATION_SALT, ROTATION_ROOT).hex(),
        "info": keys.fleet_rotation_info(device.device_id).hex(),
        "rotation_key": device.rotation_key.hex(),
    }


def _device(device: Device) -> dict:
    return {"suite": keys.SUITE, "device_id": device.device_id.hex(), "device_key": device.key.hex()}


def _hello(device: Device) -> dict:
    return {
        **_device(device),
        "info": keys.hello_info(device.device_id).hex(),
        "hello_key": keys.hello_key(device.key, device.device_id).hex(),
    }


def _floor(device: Device, boot: int, count: int) -> dict:
    floor = epoch_bytes(boot, count)
    return {
        **_device(device),
        "floor": floor.hex(),
        "info": keys.floor_info(device.device_id, floor).hex(),
        "floor_key": keys.floor_key(device.key, device.device_id, floor).hex(),
    }


def _session(device: Device, boot: int, count: int) -> dict:
    epoch, chosen = epoch_bytes(boot, count), f"keys {device.device_id.hex()} {boot} {count}"
    device_salt, other = salt(chosen), server_salt(chosen)
    up, down = keys.session_keys(device.key, device.device_id, epoch, device_salt, other)
    return {
        **_device(device),
        "epoch": epoch.hex(),
        "salt": device_salt.hex(),
        "server_salt": other.hex(),
        "info": keys.session_info(device.device_id, epoch, device_salt, other).hex(),
        "up_key": up.hex(),
        "down_key": down.hex(),
    }


def _salt(device: Device, boot: int, count: int) -> dict:
    epoch = epoch_bytes(boot, count)
    return {
        "device_key": device.key.hex(),
        "epoch": epoch.hex(),
        "info": keys.salt_info(epoch).hex(),
        "salt": keys.salt_without_rng(device.key, epoch).hex(),
    }


def _rotation(device: Device, generation: int) -> dict:
    r0 = fixed_bytes(f"r0 keys {generation}", 16)
    step = keys.rotate(device.rotation_key, device.device_id, generation, r0)
    return {
        "suite": keys.SUITE,
        "device_id": device.device_id.hex(),
        "rotation_key": device.rotation_key.hex(),
        "generation": generation,
        "new_generation": step.generation,
        "r0": r0.hex(),
        "hmac_message": step.message.hex(),
        "hmac": step.mac.hex(),
        "r": step.r.hex(),
        "prk": step.prk.hex(),
        "info": step.info.hex(),
        "new_device_key": step.device_key.hex(),
    }
