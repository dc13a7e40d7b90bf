"""The bytes of the datagrams: numbers, connection ids, acknowledgement blocks, headers, sealing."""

from collections.abc import Set
from dataclasses import dataclass

from keys import floor_key, hello_key, u16
from primitives import TAG_LEN, open_sealed, seal

VERSION = 0x40
HELLO, WELCOME, DATA, RESET = 0x00, 0x10, 0x20, 0x30
BIT_E, BIT_F = 0x08, 0x04
BIT_S, BIT_C, BIT_A, BIT_K = 0x08, 0x04, 0x02, 0x01

MAX_NUMBER = 0xFFFF
ACK_BLOCK_LEN = 3

KIND_ROTATE, KIND_CLOSE, KIND_MOVED = 0x01, 0x02, 0x03


# --- numbers ---------------------------------------------------------------------------------


def reconstruct(low_byte: int, highest: int | None) -> int:
    """The number with this low byte nearest to one past `highest`; of two equally near the lower."""
    expected = 0 if highest is None else highest + 1
    candidates = range(low_byte, MAX_NUMBER + 1, 256)
    return min(candidates, key=lambda number: (abs(number - expected), number))


def one_byte_permitted(number: int, highest_acknowledged: int | None) -> bool:
    expected = 0 if highest_acknowledged is None else highest_acknowledged + 1
    return number - expected < 128


# --- connection ids --------------------------------------------------------------------------


def cid_encode(length: int, value: int) -> bytes:
    bits = 8 * length - 2
    if not 1 <= length <= 4 or not 0 <= value < 1 << bits:
        raise ValueError(f"no cid of {length} bytes holds {value}")
    return ((length - 1) << bits | value).to_bytes(length, "big")


def cid_length(first_byte: int) -> int:
    return (first_byte >> 6) + 1


def cid_valid(cid: bytes) -> bool:
    return len(cid) > 0 and len(cid) == cid_length(cid[0])


def cid_value(cid: bytes) -> int:
    return int.from_bytes(cid, "big") & ((1 << 8 * len(cid) - 2) - 1)


# --- acknowledgement blocks ------------------------------------------------------------------


def ack_encode(number: int, also: Set[int] = frozenset()) -> bytes:
    """`number` and those of `also` that are among the eight before it."""
    bitmap = sum(1 << i for i in range(8) if number - 1 - i in also)
    return u16(number) + bytes([bitmap])


def ack_decode(block: bytes) -> list[int]:
    """All the numbers a block names, ascending; below zero if it names what cannot exist."""
    number = int.from_bytes(block[:2], "big")
    return sorted([number] + [number - 1 - i for i in range(8) if block[2] >> i & 1])


# --- sealing ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sealed:
    """A datagram with every value that went into it."""

    key: bytes
    nonce: bytes
    aad: bytes
    plaintext: bytes
    ciphertext: bytes
    tag: bytes
    datagram: bytes

    def values(self) -> dict[str, str]:
        return {name: getattr(self, name).hex() for name in self.__dataclass_fields__}


def _sealed(key: bytes, nonce: bytes, aad: bytes, plaintext: bytes, header: bytes) -> Sealed:
    ciphertext, tag = seal(key, nonce, aad, plaintext)
    return Sealed(key, nonce, aad, plaintext, ciphertext, tag, header + ciphertext + tag)


def hello(
    device_key: bytes,
    device_id: bytes,
    generation: int,
    epoch: bytes,
    salt: bytes,
    payload: bytes = b"",
    flags: int | None = None,
) -> Sealed:
    if flags is None:
        flags = VERSION | HELLO | (generation % 4) << 2
    aad = bytes([flags]) + device_id
    header = aad + epoch + salt
    return _sealed(hello_key(device_key, device_id), epoch + salt, aad, payload, header)


def welcome(
    down_key: bytes, salt: bytes, server_salt: bytes, cid: bytes, early_data_taken: bool, flags: int | None = None
) -> Sealed:
    if flags is None:
        flags = VERSION | WELCOME | (BIT_E if early_data_taken else 0)
    header = bytes([flags]) + salt[:2] + server_salt
    return _sealed(down_key, b"\x01" + bytes(11), header, cid, header)


def floor(
    device_key: bytes, device_id: bytes, epoch: bytes, salt: bytes, newest: bytes, flags: int | None = None
) -> Sealed:
    header = bytes([VERSION | WELCOME | BIT_F if flags is None else flags]) + salt[:2] + newest
    return _sealed(floor_key(device_key, device_id, newest), epoch + salt, header, b"", header)


def data_nonce(number: int) -> bytes:
    return b"\x02" + bytes(9) + u16(number)


def reset_nonce(number: int) -> bytes:
    return b"\x03" + bytes(9) + u16(number)


def sequence_bytes(number: int, length: int) -> bytes:
    return u16(number)[2 - length :]


def data(
    key: bytes,
    cid: bytes,
    number: int,
    payload: bytes = b"",
    seq_len: int = 2,
    c: bool = False,
    ack: bytes | None = None,
    k: bool = False,
    flags: int | None = None,
) -> Sealed:
    """`ack` is the acknowledgement block; `flags` overrides the first byte for malformed cases."""
    if flags is None:
        flags = VERSION | DATA
        flags |= BIT_S if seq_len == 2 else 0
        flags |= BIT_C if c else 0
        flags |= BIT_A if ack is not None else 0
        flags |= BIT_K if k else 0
    header = bytes([flags]) + cid + sequence_bytes(number, seq_len)
    return _sealed(key, data_nonce(number), header, (ack or b"") + payload, header)


def reset(down_key: bytes, cid: bytes, number: int, seq_len: int, flags: int | None = None) -> Sealed:
    if flags is None:
        flags = VERSION | RESET | (BIT_S if seq_len == 2 else 0)
    header = bytes([flags]) + cid + sequence_bytes(number, seq_len)
    return _sealed(down_key, reset_nonce(number), header, b"", header)


# --- parsing ---------------------------------------------------------------------------------


class Malformed(Exception):
    """The bytes are no datagram of version 1; the argument is the reason."""


@dataclass(frozen=True)
class Parsed:
    """A well-formed datagram, not verified."""

    kind: str
    flags: int
    header: bytes
    fields: dict[str, bytes]
    sealed: bytes

    def open(self, key: bytes, nonce: bytes) -> bytes | None:
        aad = self.header[:9] if self.kind == "hello" else self.header
        return open_sealed(key, nonce, aad, self.sealed)


def parse(datagram: bytes) -> Parsed:
    if not datagram:
        raise Malformed("length")
    flags = datagram[0]
    if flags >> 6 != 1:
        raise Malformed("version")
    reader = {HELLO: _parse_hello, WELCOME: _parse_answer, DATA: _parse_data, RESET: _parse_reset}
    return reader[flags & 0x30](flags, datagram)


def _split(kind: str, datagram: bytes, layout: list[tuple[str, int]], low: int, high: int | None) -> Parsed:
    """Cut the header; what is left, tag included, must have `low` to `high` bytes."""
    fields, at = {}, 1
    for name, length in layout:
        fields[name] = datagram[at : at + length]
        at += length
    left = len(datagram) - at
    if left < low or (high is not None and left > high):
        raise Malformed("length")
    return Parsed(kind, datagram[0], datagram[:at], fields, datagram[at:])


def _require_zero(flags: int, undefined: int) -> None:
    if flags & undefined:
        raise Malformed("undefined_bit")


def _parse_hello(flags: int, datagram: bytes) -> Parsed:
    _require_zero(flags, 0x03)
    return _split("hello", datagram, [("device_id", 8), ("epoch", 6), ("salt", 6)], TAG_LEN, None)


def _parse_answer(flags: int, datagram: bytes) -> Parsed:
    if flags & BIT_F:
        _require_zero(flags, 0x0B)
        return _split("floor", datagram, [("echo", 2), ("floor", 6)], TAG_LEN, TAG_LEN)
    _require_zero(flags, 0x03)
    return _split("welcome", datagram, [("echo", 2), ("server_salt", 8)], TAG_LEN + 1, TAG_LEN + 4)


def _parse_data(flags: int, datagram: bytes) -> Parsed:
    if flags & BIT_C and not flags & BIT_S:
        raise Malformed("c_without_s")
    return _split("data", datagram, _numbered_layout(flags, datagram), TAG_LEN, None)


def _parse_reset(flags: int, datagram: bytes) -> Parsed:
    _require_zero(flags, 0x07)
    return _split("reset", datagram, _numbered_layout(flags, datagram), TAG_LEN, TAG_LEN)


def _numbered_layout(flags: int, datagram: bytes) -> list[tuple[str, int]]:
    if len(datagram) < 2:
        raise Malformed("length")
    return [("cid", cid_length(datagram[1])), ("seq", 2 if flags & BIT_S else 1)]
