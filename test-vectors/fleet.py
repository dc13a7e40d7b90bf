"""The people of the vectors: three devices, their keys, their Hellos and sessions."""

from dataclasses import dataclass, field

import codec
from keys import epoch_bytes, fleet_device_key, fleet_rotation_key, session_keys
from primitives import fixed_bytes

FLEET_KEY = bytes(range(0x20))
ROTATION_ROOT = bytes(range(0x80, 0xA0))


@dataclass(frozen=True)
class Device:
    device_id: bytes
    generation: int = 1

    @property
    def key(self) -> bytes:
        return fleet_device_key(FLEET_KEY, self.generation, self.device_id)

    @property
    def rotation_key(self) -> bytes:
        return fleet_rotation_key(ROTATION_ROOT, self.device_id)

    def hello(self, epoch: bytes, salt: bytes, payload: bytes = b"", flags: int | None = None) -> codec.Sealed:
        return codec.hello(self.key, self.device_id, self.generation, epoch, salt, payload, flags)

    def floor(self, epoch: bytes, salt: bytes, newest: bytes, flags: int | None = None) -> codec.Sealed:
        return codec.floor(self.key, self.device_id, epoch, salt, newest, flags)


@dataclass(frozen=True)
class Session:
    """What both sides of one session hold."""

    device: Device
    epoch: bytes
    salt: bytes
    server_salt: bytes
    cid: bytes
    early_data: bytes = b""
    up_key: bytes = field(init=False, repr=False)
    down_key: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        up, down = session_keys(self.device.key, self.device.device_id, self.epoch, self.salt, self.server_salt)
        object.__setattr__(self, "up_key", up)
        object.__setattr__(self, "down_key", down)

    def hello(self) -> codec.Sealed:
        return self.device.hello(self.epoch, self.salt, self.early_data)

    def welcome(self, cid: bytes | None = None, flags: int | None = None) -> codec.Sealed:
        cid = self.cid if cid is None else cid
        return codec.welcome(self.down_key, self.salt, self.server_salt, cid, bool(self.early_data), flags)

    def up(self, number: int, payload: bytes = b"", **how) -> codec.Sealed:
        return codec.data(self.up_key, self.cid, number, payload, **how)

    def down(self, number: int, payload: bytes = b"", **how) -> codec.Sealed:
        return codec.data(self.down_key, self.cid, number, payload, **how)

    def reset(self, number: int, seq_len: int = 2, flags: int | None = None) -> codec.Sealed:
        return codec.reset(self.down_key, self.cid, number, seq_len, flags)


ALICE = Device(bytes.fromhex("0242acfffe110001"))
BOB = Device(bytes.fromhex("0242acfffe110002"), generation=5)
CAROL = Device(bytes.fromhex("0242acfffe110003"), generation=2)


def salt(label: str) -> bytes:
    return fixed_bytes(f"salt {label}", 6)


def server_salt(label: str) -> bytes:
    return fixed_bytes(f"server salt {label}", 8)


def session(device: Device, label: str, boot: int, count: int, cid: bytes, early_data: bytes = b"") -> Session:
    return Session(device, epoch_bytes(boot, count), salt(label), server_salt(label), cid, early_data)
