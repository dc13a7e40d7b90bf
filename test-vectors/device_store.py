"""What a device has in flash, as files of a directory: `keys.json` and `counter`. SPEC 3.1, 6.1, 10.2.

The boot counter is a file of its own, so that it can be lost as flash is lost. Each write is on stable storage, and
has been read back, before anything is made from it.
"""

import hmac
import json
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import durable
from keys import SUITE

FIRST_WRAPPED_BOOT = 2**32


@dataclass(frozen=True)
class Slot:
    """A device key and its generation."""

    generation: int
    key: bytes = field(repr=False)


def provision(directory: Path, secret: Path) -> None:
    """What the factory does: the boot counter is 0, the second slot is empty."""
    told = json.loads(durable.read_secret(secret))
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    _write_counter(directory / "counter", 0)
    slots = [{"generation": told["generation"], "device_key": told["device_key"]}]
    keys = {name: told[name] for name in ("suite", "device_id", "rotation_key")}
    durable.write_json(directory / "keys.json", {**keys, "slots": slots})


class DeviceStore:
    """Opens the directory, and advances nothing yet."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        told = json.loads(durable.read_secret(directory / "keys.json"))
        if told["suite"] != SUITE:
            raise SystemExit(f"suite {told['suite']} is not known")
        self.device_id = bytes.fromhex(told["device_id"])
        self.rotation_key = bytes.fromhex(told["rotation_key"])
        self._told = told
        self.slots = [Slot(s["generation"], bytes.fromhex(s["device_key"])) for s in told["slots"]]
        self.boot = _read_counter(directory / "counter")
        self.blank = self.boot is None

    @property
    def newest(self) -> Slot:
        return max(self.slots, key=lambda slot: slot.generation)

    @property
    def oldest(self) -> Slot:
        return min(self.slots, key=lambda slot: slot.generation)

    def set_boot(self, boot: int) -> None:
        """Before any datagram of that boot (M-25); it never wraps (M-28)."""
        if boot >= FIRST_WRAPPED_BOOT:
            raise SystemExit("the boot counter is used up")
        _write_counter(self._directory / "counter", boot)
        if _read_counter(self._directory / "counter") != boot:
            raise OSError("the boot counter does not read back")
        self.boot = boot

    def set_slots(self, slots: list[Slot]) -> None:
        told = [{"generation": s.generation, "device_key": s.key.hex()} for s in slots]
        durable.write_json(self._directory / "keys.json", {**self._told, "slots": told})
        back = json.loads(durable.read_secret(self._directory / "keys.json"))["slots"]
        if not hmac.compare_digest(json.dumps(back), json.dumps(told)):
            raise OSError("the key slots do not read back")
        self.slots = slots


def _write_counter(path: Path, boot: int) -> None:
    number = boot.to_bytes(4, "big")
    durable.write(path, (number + zlib.crc32(number).to_bytes(4, "big")).hex().encode())


def _read_counter(path: Path) -> int | None:
    """None if it is blank or broken."""
    try:
        content = bytes.fromhex(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    if len(content) != 8 or zlib.crc32(content[:4]).to_bytes(4, "big") != content[4:]:
        return None
    return int.from_bytes(content[:4], "big")
