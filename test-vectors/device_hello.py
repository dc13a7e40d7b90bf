"""How a device opens a session: epochs, Hellos, and what Welcome and Floor do. SPEC 6.2 to 6.4, 10.2.

Owns the outstanding Hello and the epochs of this boot. What lives inside a session is `device.py`'s.
"""

from dataclasses import dataclass, field

import codec
from codec import BIT_E, Parsed
from device_store import DeviceStore, Slot
from keys import epoch_bytes, floor_key, salt_without_rng, session_keys
from randomness import fresh, refuse_broken
from repeats import Repeats
from session import Dropped, Session

FIRST_REFUSED_FLOOR = 0xFEFFFFFF
LAST_COUNT = 0xFFFF
WELCOME_NONCE = b"\x01" + bytes(11)


@dataclass(frozen=True)
class Payload:
    """What the application gave, under the ticket by which it hears of it."""

    ticket: int
    content: bytes
    confirm: bool


@dataclass
class Hello:
    """The one that is outstanding."""

    epoch: bytes
    salt: bytes
    slot: Slot
    payload: Payload | None
    datagram: bytes = field(repr=False)


@dataclass(frozen=True)
class Accepted:
    """What a Welcome set up. No session if it held no valid cid; the Hello is consumed all the same (M-35)."""

    hello: Hello
    early_taken: bool
    session: Session | None


@dataclass(frozen=True)
class Floored:
    hello: Hello
    floor: bytes
    moved: bool


class Opener:
    """The epochs of one boot, and its one outstanding Hello."""

    def __init__(self, store: DeviceStore, rng: bool, first_wait_ms: int, cap_ms: int) -> None:
        if store.blank and not rng:
            raise SystemExit("the boot counter is blank or broken, and there is no RNG (M-27)")
        self.hello: Hello | None = None
        self.moved_from: int | None = None
        self.repeats = Repeats(first_wait_ms, cap=cap_ms)
        self._waits = (first_wait_ms, cap_ms)
        self._store, self._rng = store, rng
        self._trusted = not store.blank
        self._next_count = 0
        self._slot: Slot | None = None
        store.set_boot((store.boot or 0) + 1)

    # --- Hellos ------------------------------------------------------------------------------

    def may_carry_payload(self) -> bool:
        """Not in a boot that found its counter blank, before an answer came (M-32). With two keys each transmission
        is another Hello, and the payload of one that is replaced would be lost to *unknown*: it waits (M-119)."""
        return self._trusted and len(self._store.slots) == 1

    def start(self, now: int, payload: Payload | None) -> bytes:
        """A new Hello, in place of the outstanding one."""
        if self._slot not in self._store.slots:
            self._slot = self._store.newest
        first, cap = self._waits
        self.repeats = Repeats(first, cap=cap).start(now)
        return self._make(payload)

    def start_under(self, now: int, slot: Slot) -> bytes:
        self._slot = slot
        return self.start(now, None)

    def again(self, now: int) -> bytes:
        """A wait has ended. One key: the same bytes. Two: a new Hello under the other one (M-31, M-119)."""
        self.repeats.again(now)
        if len(self._store.slots) == 1:
            return self.hello.datagram
        self._slot = next(slot for slot in self._store.slots if slot != self.hello.slot)
        return self._make(None)

    def withdraw(self) -> None:
        self.hello = None

    def _make(self, payload: Payload | None) -> bytes:
        epoch = self._take_epoch()
        salt = self._salt(epoch)
        slot, content = self._slot, payload.content if payload else b""
        sealed = codec.hello(slot.key, self._store.device_id, slot.generation, epoch, salt, content)
        self.hello = Hello(epoch, salt, slot, payload, sealed.datagram)
        return sealed.datagram

    def _take_epoch(self) -> bytes:
        if self._next_count > LAST_COUNT:
            self._store.set_boot(self._store.boot + 1)
            self._next_count = 0
        self._next_count += 1
        return epoch_bytes(self._store.boot, self._next_count - 1)

    def _salt(self, epoch: bytes) -> bytes:
        return fresh(6) if self._rng else refuse_broken(salt_without_rng(self._slot.key, epoch))

    # --- their answers -----------------------------------------------------------------------

    def welcome(self, parsed: Parsed) -> Accepted:
        hello = self._answered_by(parsed)
        server_salt = parsed.fields["server_salt"]
        up, down = session_keys(hello.slot.key, self._store.device_id, hello.epoch, hello.salt, server_salt)
        cid = parsed.open(down, WELCOME_NONCE)
        if cid is None:
            raise Dropped("bad_tag")
        self.hello, self._trusted, self._slot = None, True, None
        session = Session(cid, up, down) if codec.cid_valid(cid) else None
        return Accepted(hello, bool(parsed.flags & BIT_E), session)

    def floor(self, parsed: Parsed) -> Floored:
        hello, floor = self._answered_by(parsed), parsed.fields["floor"]
        key = floor_key(hello.slot.key, self._store.device_id, floor)
        if parsed.open(key, hello.epoch + hello.salt) is None:
            raise Dropped("bad_tag")
        boot = int.from_bytes(floor[:4], "big")
        if boot >= FIRST_REFUSED_FLOOR:
            raise Dropped("floor_refused")
        self.hello, self._trusted = None, True
        return Floored(hello, floor, self._get_past(boot, floor))

    def _answered_by(self, parsed: Parsed) -> Hello:
        if self.hello is None:
            raise Dropped("no_hello_outstanding")
        if parsed.fields["echo"] != self.hello.salt[:2]:
            raise Dropped("echo_mismatch")
        return self.hello

    def _get_past(self, boot: int, floor: bytes) -> bool:
        """Whether the counter moved. The highest epoch that this boot used is the last one made (M-40)."""
        if boot < self._store.boot or floor <= epoch_bytes(self._store.boot, self._next_count - 1):
            return False
        before = self._store.boot
        self._store.set_boot(boot + 1)
        self._next_count = 0
        if self.moved_from is None:
            self.moved_from = before
        return True
