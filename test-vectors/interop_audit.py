"""Reads a captured exchange with the keys: each datagram must open, be the only encoding of what it holds, and keep
the rules that bind its sender. What the Rust side sent is thereby held against the Python encoder, byte for byte.
"""

from contextlib import suppress
from dataclasses import dataclass, field

import codec
from codec import BIT_A, BIT_C, BIT_E, BIT_K
from device_hello import WELCOME_NONCE
from interop_relay import DOWN, UP, Packet
from keys import floor_key, hello_key, rotated_key, session_keys

# So long after a Data reached it a side has taken it in (s).
TAKEN_IN = 3.0


@dataclass(frozen=True)
class HelloSeen:
    generation: int
    epoch: bytes
    salt: bytes


@dataclass
class Direction:
    """What one side has sent, and what it was told of it, in one session."""

    key: bytes
    last: int | None = None
    delivered: dict[int, float] = field(default_factory=dict)
    highest_acknowledged: int | None = None


@dataclass
class SessionSeen:
    hello: HelloSeen
    cid: bytes
    ways: dict[str, Direction]


@dataclass(frozen=True)
class DataSeen:
    session: SessionSeen
    direction: str
    number: int
    named: tuple[int, ...]


class Auditor:
    def __init__(self, device_id: bytes, device_key: bytes, rotation_key: bytes) -> None:
        self.problems: list[tuple[str, str]] = []
        self.made_again = {UP: 0, DOWN: 0}
        self._device_id, self._rotation_key = device_id, rotation_key
        self._keys = {1: device_key}
        self._hellos: list[HelloSeen] = []
        self._sessions: list[SessionSeen] = []
        self._seen: dict[tuple[str, bytes], DataSeen | None] = {}
        self._nonces: dict[tuple[bytes, bytes], bytes] = {}

    def read(self, log: list[Packet]) -> None:
        for packet in log:
            if packet.delivered:
                self._delivered(packet)
            elif (packet.direction, packet.datagram) not in self._seen:
                self._seen[packet.direction, packet.datagram] = self._sent(packet)

    # --- what was sent -----------------------------------------------------------------------

    def _sent(self, packet: Packet) -> DataSeen | None:
        way, datagram = packet.direction, packet.datagram
        try:
            parsed = codec.parse(datagram)
        except codec.Malformed as malformed:
            self._problem(way, f"{datagram.hex()} is no datagram: {malformed}")
            return None
        read = {"hello": self._hello, "welcome": self._welcome, "floor": self._floor, "reset": self._reset}
        data, again = None, None
        if (way == UP) != (parsed.kind == "hello") and parsed.kind != "data":
            self._problem(way, f"a {parsed.kind} goes {way}")
        elif parsed.kind == "data":
            data, again = self._data(packet, parsed)
        else:
            again = read[parsed.kind](parsed)
        if again is None:
            self._problem(way, f"a {parsed.kind} does not open: {datagram.hex()}")
        elif again.datagram != datagram:
            self._problem(way, f"a {parsed.kind} is {datagram.hex()} and not {again.datagram.hex()}")
        else:
            self.made_again[way] += 1
            if self._nonces.setdefault((again.key, again.nonce), datagram) != datagram:
                self._problem(way, f"a nonce of a {parsed.kind} seals twice (P3): {datagram.hex()}")
        return data

    def _hello(self, parsed: codec.Parsed) -> codec.Sealed | None:
        epoch, salt = parsed.fields["epoch"], parsed.fields["salt"]
        generation = next((g for g in sorted(self._keys) if g % 4 == parsed.flags >> 2 & 3), None)
        if generation is None:
            return None
        key = self._keys[generation]
        payload = parsed.open(hello_key(key, self._device_id), epoch + salt)
        if payload is None:
            return None
        if any(hello.epoch >= epoch for hello in self._hellos) and not self._epochs_may_fall:
            self._problem(UP, f"epoch {epoch.hex()} is not above those before (M-29)")
        self._hellos.append(HelloSeen(generation, epoch, salt))
        return codec.hello(key, self._device_id, generation, epoch, salt, payload)

    _epochs_may_fall = False

    def counter_lost(self) -> None:
        """The device's counter is erased in this exchange: its epochs begin anew."""
        self._epochs_may_fall = True

    def _answered(self, parsed: codec.Parsed) -> list[HelloSeen]:
        return [hello for hello in reversed(self._hellos) if hello.salt[:2] == parsed.fields["echo"]]

    def _welcome(self, parsed: codec.Parsed) -> codec.Sealed | None:
        server_salt = parsed.fields["server_salt"]
        for hello in self._answered(parsed):
            key = self._keys[hello.generation]
            up, down = session_keys(key, self._device_id, hello.epoch, hello.salt, server_salt)
            cid = parsed.open(down, WELCOME_NONCE)
            if cid is not None:
                ways = {UP: Direction(up), DOWN: Direction(down)}
                self._sessions.append(SessionSeen(hello, cid, ways))
                return codec.welcome(down, hello.salt, server_salt, cid, bool(parsed.flags & BIT_E))
        return None

    def _floor(self, parsed: codec.Parsed) -> codec.Sealed | None:
        floor = parsed.fields["floor"]
        for hello in self._answered(parsed):
            key = self._keys[hello.generation]
            if parsed.open(floor_key(key, self._device_id, floor), hello.epoch + hello.salt) is not None:
                return codec.floor(key, self._device_id, hello.epoch, hello.salt, floor)
        return None

    def _by_cid(self, parsed: codec.Parsed) -> list[SessionSeen]:
        return [s for s in reversed(self._sessions) if s.cid == parsed.fields["cid"]]

    def _reset(self, parsed: codec.Parsed) -> codec.Sealed | None:
        seq = parsed.fields["seq"]
        number = int.from_bytes(seq, "big")  # of one byte too: it answers one that a server without counters read
        for session in self._by_cid(parsed):
            key = session.ways[DOWN].key
            if parsed.open(key, codec.reset_nonce(number)) is not None:
                return codec.reset(key, session.cid, number, len(seq))
        return None

    def _data(self, packet: Packet, parsed: codec.Parsed) -> tuple[DataSeen | None, codec.Sealed | None]:
        seq, flags = parsed.fields["seq"], parsed.flags
        for session in self._by_cid(parsed):
            way = session.ways[packet.direction]
            number = int.from_bytes(seq, "big") if len(seq) == 2 else codec.reconstruct(seq[0], way.last)
            plaintext = parsed.open(way.key, codec.data_nonce(number))
            if plaintext is None:
                continue
            block = plaintext[:3] if flags & BIT_A else None
            payload = plaintext[3:] if flags & BIT_A else plaintext
            named = tuple(codec.ack_decode(block)) if block and len(block) == 3 else ()
            self._judge(packet, session, number, flags, payload, named, len(seq))
            way.last = number if way.last is None else max(way.last, number)
            c, k = bool(flags & BIT_C), bool(flags & BIT_K)
            again = codec.data(way.key, session.cid, number, payload, seq_len=len(seq), c=c, ack=block, k=k)
            return DataSeen(session, packet.direction, number, named), again
        return None, None

    # --- the rules ---------------------------------------------------------------------------

    def _judge(
        self,
        packet: Packet,
        session: SessionSeen,
        number: int,
        flags: int,
        payload: bytes,
        named: tuple[int, ...],
        seq_len: int,
    ) -> None:
        side, c = packet.direction, bool(flags & BIT_C)
        way, other = session.ways[side], session.ways[DOWN if side == UP else UP]
        told = f"Data {number} {side}"
        if way.last is not None and number <= way.last:
            self._problem(side, f"{told}: sealed after {way.last}")
        if way.last is None and side == UP and not c:
            self._problem(side, f"{told}: the first, without C (M-37)")
        if seq_len == 1 and not codec.one_byte_permitted(number, way.highest_acknowledged):
            self._problem(side, f"{told}: one byte of seq, {way.highest_acknowledged} is acknowledged (M-14)")
        if any(n not in other.delivered for n in named):
            self._problem(side, f"{told}: acknowledges of {named} what never came (M-18)")
        taken_in = any(packet.at - at > TAKEN_IN for at in other.delivered.values())
        if taken_in and not named and (side == DOWN or c):
            self._problem(side, f"{told}: no block (M-44, M-110)")
        if flags & BIT_K and payload[:1] in (b"\x01", b"\x03") and not c:
            self._problem(side, f"{told}: rotate or moved, without C (10.1)")
        if flags & BIT_K and payload[:1] == b"\x01" and side == DOWN and len(payload) == 34:
            new = rotated_key(self._rotation_key, self._device_id, payload[1], payload[2:])
            self._keys[payload[1]] = new

    def _delivered(self, packet: Packet) -> None:
        if packet.direction == UP and (UP, packet.datagram) not in self._seen:
            self._injected(packet.datagram)
        data = self._seen.get((packet.direction, packet.datagram))
        if data is None:
            return
        data.session.ways[data.direction].delivered.setdefault(data.number, packet.at)
        back = data.session.ways[DOWN if data.direction == UP else UP]
        if data.named:
            known = -1 if back.highest_acknowledged is None else back.highest_acknowledged
            back.highest_acknowledged = max(known, *data.named)

    def _injected(self, datagram: bytes) -> None:
        """What a scenario made itself may be a Hello that is answered."""
        with suppress(codec.Malformed):
            parsed = codec.parse(datagram)
            if parsed.kind == "hello" and parsed.fields["device_id"] == self._device_id:
                generation = next((g for g in sorted(self._keys) if g % 4 == parsed.flags >> 2 & 3), 1)
                self._hellos.append(HelloSeen(generation, parsed.fields["epoch"], parsed.fields["salt"]))
                self._epochs_may_fall = True

    def _problem(self, side: str, what: str) -> None:
        self.problems.append((side, what))
