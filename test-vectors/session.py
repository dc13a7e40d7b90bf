"""One established session, either side: numbers, window, acknowledgement blocks. SPEC 4.10, 4.11, 9.3, 9.7.

It has the two keys and no clock, timer or address. What a control message means is the caller's to say.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import codec
from codec import BIT_A, BIT_C, BIT_K, MAX_NUMBER, Parsed

WINDOW = 64
RENEWAL = 0xFF00
MAX_FAILURES = 2**36

# Why a control message is malformed, or None. Takes the message and whether its Data carries C.
ControlFault = Callable[[bytes, bool], str | None]


class Dropped(Exception):
    """A datagram that has no effect; the argument is the reason, for counters only."""


class Exhausted(Exception):
    """The session has no number left (M-50)."""


@dataclass
class Outgoing:
    """The numbers that this side takes, and which of them the peer has acknowledged."""

    next_number: int = 0
    highest_acknowledged: int | None = None
    acknowledged: set[int] = field(default_factory=set)

    def take(self) -> int:
        if self.next_number > MAX_NUMBER:
            raise Exhausted
        self.next_number += 1
        return self.next_number - 1

    def seq_len(self, number: int, c: bool) -> int:
        return 1 if not c and codec.one_byte_permitted(number, self.highest_acknowledged) else 2

    def possible(self, named: list[int]) -> bool:
        """Whether a block can be true: nothing below 0, nothing never sent (M-18)."""
        return named[0] >= 0 and named[-1] < self.next_number

    def note(self, named: list[int]) -> list[int]:
        """Unites a block with those before (M-17); what was not acknowledged so far."""
        new = [number for number in named if number not in self.acknowledged]
        self.highest_acknowledged = max(named[-1], self.highest_acknowledged or 0)
        self.acknowledged |= set(named)
        self.acknowledged = {n for n in self.acknowledged if n > self.highest_acknowledged - WINDOW}
        return new

    def open_to_reset(self, number: int) -> bool:
        """Sent and not acknowledged, as far as is known: left of the 64 exact ones nothing is (M-46)."""
        left = -1 if self.highest_acknowledged is None else self.highest_acknowledged - WINDOW
        return left < number < self.next_number and number not in self.acknowledged


@dataclass
class Incoming:
    """The peer's numbers: which were seen, and which of those may be acknowledged (M-16)."""

    highest: int | None = None
    seen: set[int] = field(default_factory=set)
    good: set[int] = field(default_factory=set)

    def verdict(self, number: int) -> str:
        if self.highest is not None and number <= self.highest - WINDOW:
            return "too_old"
        return "replayed" if number in self.seen else "fresh"

    def commit(self, number: int, good: bool) -> None:
        self.highest = number if self.highest is None else max(number, self.highest)
        self.seen.add(number)
        if good:
            self.good.add(number)
        self.seen = {n for n in self.seen if n > self.highest - WINDOW}
        # The highest good one stays even where it has left the window: blocks go on naming it.
        top = max(self.good, default=None)
        self.good = {n for n in self.good if n > self.highest - WINDOW or n == top}

    def block(self, answered: int | None = None, repeat: bool = False) -> bytes | None:
        """The block to send now; `answered` is the number that calls for it (M-15, M-18)."""
        if not self.good:
            return None
        number = max(self.good)
        if answered in self.good and (repeat or number - answered > 8):
            number = answered
        return codec.ack_encode(number, self.good)


@dataclass(frozen=True)
class Opened:
    """A Data that verified. A malformed one, and a repeat, have nothing in them that takes effect."""

    number: int
    repeat: bool
    highest: bool
    c: bool
    malformed: str | None = None
    control: bool = False
    payload: bytes = b""
    named: list[int] = field(default_factory=list)
    newly_acknowledged: list[int] = field(default_factory=list)

    @property
    def well_formed(self) -> bool:
        return self.malformed is None


@dataclass
class Session:
    cid: bytes
    send_key: bytes = field(repr=False)
    receive_key: bytes = field(repr=False)
    out: Outgoing = field(default_factory=Outgoing)
    into: Incoming = field(default_factory=Incoming)
    failures: int = 0
    repeats_answered: int = 0
    repeat_answered_at: int | None = None

    def seal(
        self, payload: bytes = b"", c: bool = False, k: bool = False, block: bytes | None = None
    ) -> tuple[int, bytes]:
        number = self.out.take()
        seq_len = self.out.seq_len(number, c)
        sealed = codec.data(self.send_key, self.cid, number, payload, seq_len=seq_len, c=c, k=k, ack=block)
        return number, sealed.datagram

    def receive(self, parsed: Parsed, control_fault: ControlFault) -> Opened:
        """Find, check the window, verify, commit, then judge (M-66)."""
        number = read_number(parsed, self.into.highest)
        verdict = self.into.verdict(number)
        c = bool(parsed.flags & BIT_C)
        if verdict == "too_old" or (verdict == "replayed" and not (c and number in self.into.good)):
            raise Dropped(verdict)
        plaintext = parsed.open(self.receive_key, codec.data_nonce(number))
        if plaintext is None:
            self.failures += 1
            raise Dropped("bad_tag")
        if verdict == "replayed":
            return Opened(number, repeat=True, highest=False, c=c)
        highest = self.into.highest is None or number > self.into.highest
        opened = self._judge(parsed.flags, plaintext, number, highest, control_fault)
        self.into.commit(number, opened.well_formed)
        self.repeats_answered = 0
        return opened

    def may_answer_repeat(self, now: int) -> bool:
        """Once a second, and 8 times between two newly verified numbers (M-101)."""
        recently = self.repeat_answered_at is not None and now - self.repeat_answered_at < 1000
        if recently or self.repeats_answered >= 8:
            return False
        self.repeats_answered += 1
        self.repeat_answered_at = now
        return True

    @property
    def renewal_due(self) -> bool:
        return self.out.next_number > RENEWAL or (self.into.highest or 0) >= RENEWAL

    def _judge(self, flags: int, plaintext: bytes, number: int, highest: bool, control_fault: ControlFault) -> Opened:
        c, k = bool(flags & BIT_C), bool(flags & BIT_K)

        def malformed(reason: str) -> Opened:
            return Opened(number, False, highest, c, malformed=reason)

        named: list[int] = []
        if flags & BIT_A:
            block, plaintext = plaintext[: codec.ACK_BLOCK_LEN], plaintext[codec.ACK_BLOCK_LEN :]
            if len(block) < codec.ACK_BLOCK_LEN:
                return malformed("short_ack_block")
            named = codec.ack_decode(block)
            if not self.out.possible(named):
                return malformed("acknowledged_never_sent")
        if k:
            fault = control_fault(plaintext, c) if plaintext else "empty_control"
            if fault:
                return malformed(fault)
        new = self.out.note(named) if named else []
        return Opened(number, False, highest, c, None, k, plaintext, named, new)


def read_number(parsed: Parsed, highest: int | None) -> int:
    seq = parsed.fields["seq"]
    return int.from_bytes(seq, "big") if len(seq) == 2 else codec.reconstruct(seq[0], highest)
