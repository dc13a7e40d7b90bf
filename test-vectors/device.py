"""A device: the half of the protocol that holds one key and little else. SPEC sections 6, 9 and 10.

No socket, no clock: `receive` and `poll` take the time in milliseconds, datagrams come out in `outbox`, what an
application should hear in `events`. As a program: `python3 device.py --help`.
"""

from collections import deque
from dataclasses import dataclass
from typing import Any

import codec
import device_control
from codec import Parsed
from device_config import Config
from device_hello import Accepted, Opener, Payload
from device_pace import Pace
from device_store import DeviceStore
from repeats import Repeats
from session import MAX_FAILURES, WINDOW, Dropped, Exhausted, Opened, Session, read_number


@dataclass
class Flight:
    """A Data with C that is not acknowledged: the bytes to repeat, and what to report."""

    datagram: bytes
    repeats: Repeats
    payload: Payload | None = None


class Device:
    def __init__(self, store: DeviceStore, config: Config) -> None:
        self.outbox: deque[tuple[bytes, Any]] = deque()
        self.events: deque[dict[str, Any]] = deque()
        self.session: Session | None = None
        self.opener = Opener(store, config.rng, config.first_wait_ms, config.hello_cap_ms)
        self._store, self._config = store, config
        self._generation = 0  # of the session's key
        self._only_receives = False
        self._renewing = False
        self._opened = False  # whether the first Data of the session is sent
        self._wanted = False  # a session without a payload
        self._not_before: int | None = None  # the next Hello, after a Welcome that held no cid (M-35)
        self._waiting: deque[Payload] = deque()
        self._flights: dict[int, Flight] = {}
        self._pace = Pace(config)
        self._tickets = 0

    # --- what an application does ------------------------------------------------------------

    def connect(self, now: int) -> None:
        self._wanted = True
        self._go_on(now)

    def send(self, now: int, content: bytes, confirm: bool = True) -> int:
        """Takes a payload; its word comes as an event with this ticket."""
        self._tickets += 1
        self._waiting.append(Payload(self._tickets, content, confirm))
        self._go_on(now)
        return self._tickets

    def close(self, now: int) -> None:
        """Tells the server that the session has ended, and forgets it (10.3)."""
        if self.session and not self._only_receives:
            self._data(now, bytes([codec.KIND_CLOSE]), c=False, k=True)
        if self.opener.hello:
            self._settle(self.opener.hello.payload, "unknown")
        self.opener.withdraw()
        self._end_session()
        self._wanted, self._not_before = False, None
        while self._waiting:
            self._tell("unsent", ticket=self._waiting.popleft().ticket)

    @property
    def idle(self) -> bool:
        """Nothing waits for a word."""
        early = self.opener.hello and self.opener.hello.payload
        return not (self._waiting or early or self._in_flight())

    # --- time --------------------------------------------------------------------------------

    def deadline(self) -> int | None:
        hello = self.opener.repeats.due if self.opener.hello else self._not_before
        timers = [hello, *(f.repeats.due for f in self._flights.values())]
        return min((due for due in timers if due is not None), default=None)

    def poll(self, now: int) -> None:
        if self.opener.hello and self.opener.repeats.expired(now):
            self._transmit(now, self.opener.again(now))
        for flight in self._flights.values():
            if self._only_receives or not flight.repeats.expired(now):
                continue
            if flight.repeats.again(now):
                self._transmit(now, flight.datagram)
            else:
                self._stop_sending()  # M-43, M-99
        self._go_on(now)

    # --- what comes --------------------------------------------------------------------------

    def receive(self, now: int, datagram: bytes, _source: Any = None) -> None:
        """Raises `Dropped` or `Malformed` for what has no effect."""
        parsed = codec.parse(datagram)
        if parsed.kind == "welcome":
            self._welcome(now, self.opener.welcome(parsed))
        elif parsed.kind == "floor":
            self._floor(now, parsed)
        elif parsed.kind == "reset":
            self._reset(parsed)
        elif parsed.kind == "data":
            self._received_data(now, parsed)
        else:
            raise Dropped("wrong_direction")
        self._go_on(now)

    def _welcome(self, now: int, accepted: Accepted) -> None:
        self._settle(accepted.hello.payload, "acknowledged" if accepted.early_taken else "unknown")
        if accepted.session is None:
            self._wanted, self._not_before = True, self.opener.repeats.due
            self._tell("error", error="a Welcome without a valid cid")
            return
        self._end_session()
        self.session, self._generation = accepted.session, accepted.hello.slot.generation
        self._wanted = False
        self._tell("session", epoch=device_control.epoch_text(accepted.hello.epoch))
        if len(self._store.slots) == 2 and accepted.hello.slot == self._store.newest:
            self._store.set_slots([self._store.newest])  # M-120
            self._tell("rotated")

    def _floor(self, now: int, parsed: Parsed) -> None:
        floored = self.opener.floor(parsed)
        self._settle(floored.hello.payload, "unknown")
        self._tell("moved" if floored.moved else "stale", floor=device_control.epoch_text(floored.floor))
        self._transmit(now, self.opener.start(now, self._early()))

    def _reset(self, parsed: Parsed) -> None:
        session = self._by_cid(parsed)
        number = read_number(parsed, session.out.highest_acknowledged)
        if parsed.open(session.receive_key, codec.reset_nonce(number)) is None:
            raise Dropped("bad_tag")
        if self.opener.hello:
            raise Dropped("hello_outstanding")
        if not session.out.open_to_reset(number):
            raise Dropped("number_acknowledged or number_never_sent")
        self._stop_sending()
        self._tell("reset")

    def _by_cid(self, parsed: Parsed) -> Session:
        if self.session is None or self.session.cid != parsed.fields["cid"]:
            raise Dropped("unknown_cid")
        return self.session

    def _received_data(self, now: int, parsed: Parsed) -> None:
        session = self._by_cid(parsed)
        try:
            opened = session.receive(parsed, lambda m, _c: device_control.fault(self._store, self._generation, m))
        finally:
            if session.failures >= MAX_FAILURES:
                self._stop_sending()
        if opened.repeat:
            if session.may_answer_repeat(now):
                self._acknowledge(now, opened)
            return
        if not opened.well_formed:
            self._tell("malformed", reason=opened.malformed)
            return
        self._acknowledged(opened)
        if opened.control:
            hello = device_control.obey(self._store, self._generation, opened.payload)
        else:
            hello = None
            self._deliver(now, opened)
        if opened.c:
            self._acknowledge(now, opened)
        if hello:
            self._tell("key_taken", generation=hello.generation)
            if self.opener.hello:
                self._settle(self.opener.hello.payload, "unknown")
            self._transmit(now, self.opener.start_under(now, hello))

    def _acknowledged(self, opened: Opened) -> None:
        for number in opened.newly_acknowledged:
            if flight := self._flights.pop(number, None):
                self._settle(flight.payload, "acknowledged")
        given_up = [n for n in self._flights if opened.named and n <= opened.named[-1] - WINDOW]
        for number in given_up:  # M-128
            self._settle(self._flights.pop(number).payload, "unknown")

    def _deliver(self, now: int, opened: Opened) -> None:
        if not opened.payload:
            return
        age = self._pace.age(now, opened.named)
        bound = self._config.max_age_ms
        if bound is not None and (age is None or age > bound):
            self._tell("command_refused", seq=opened.number, age_ms=age)
            return
        self._tell("command", payload=opened.payload.hex(), seq=opened.number, age_ms=age)

    # --- what goes ---------------------------------------------------------------------------

    def _go_on(self, now: int) -> None:
        """Whatever may be sent now: a Hello if no session takes payloads, else the payloads."""
        if self.session and not self._only_receives:
            if not self._opened:
                self._open_session(now)
            self._send_waiting(now)
            if self.session.renewal_due and not self._renewing and not self.opener.hello:
                self._renewing = True  # M-49
                self._transmit(now, self.opener.start(now, None))
        sends = self.session is not None and not self._only_receives
        if now >= (self._not_before or 0):
            self._not_before = None
        held = self.opener.hello or self._not_before
        if not sends and not held and (self._waiting or self._wanted):
            self._transmit(now, self.opener.start(now, self._early()))

    def _early(self) -> Payload | None:
        return self._waiting.popleft() if self._waiting and self.opener.may_carry_payload() else None

    def _open_session(self, now: int) -> None:
        """The first Data goes at once, with C (M-36, M-37); it is *moved* if a Floor moved the counter (M-41)."""
        self._opened = True
        if self.opener.moved_from is not None:
            message = bytes([codec.KIND_MOVED]) + self.opener.moved_from.to_bytes(4, "big")
            self.opener.moved_from = None
            self._data(now, message, c=True, k=True)
        elif self._waiting:
            first = self._waiting.popleft()
            self._data(now, first.content, c=True, payload=first)
        else:
            self._data(now, b"", c=True)

    def _send_waiting(self, now: int) -> None:
        while self._waiting and not self._only_receives:
            payload = self._waiting[0]
            if payload.confirm and self._in_flight() >= self._config.in_flight:
                return
            self._waiting.popleft()
            self._data(now, payload.content, payload=payload, c=payload.confirm or self._pace.c_is_due(now))

    def _in_flight(self) -> int:
        return sum(1 for flight in self._flights.values() if flight.payload)

    def _data(self, now: int, content: bytes, c: bool, k: bool = False, payload: Payload | None = None) -> None:
        """Seals once and sends; what has C is kept for repeats (M-95, M-96)."""
        try:
            number, datagram = self.session.seal(content, c, k, self.session.into.block() if c else None)
        except Exhausted:
            if payload:
                self._waiting.appendleft(payload)
            self._stop_sending()
            return
        self._pace.sent(now, number, c)
        if c:
            repeats = Repeats(self._config.first_wait_ms, self._config.repeats).start(now)
            self._flights[number] = Flight(datagram, repeats, payload)
        self._transmit(now, datagram)

    def _acknowledge(self, now: int, opened: Opened) -> None:
        """A pure acknowledgement: A, no C, nothing behind the block (M-45). A session that only receives has none."""
        if self._only_receives:
            return
        try:
            number, datagram = self.session.seal(block=self.session.into.block(opened.number, opened.repeat))
        except Exhausted:
            self._stop_sending()
            return
        self._pace.sent(now, number, c=None)
        self._transmit(now, datagram)

    def _transmit(self, now: int, datagram: bytes) -> None:
        self._pace.transmitted(now)
        self.outbox.append((datagram, None))

    # --- ends --------------------------------------------------------------------------------

    def _stop_sending(self) -> None:
        """From now on the session only receives, and a Hello follows (M-43, M-48)."""
        self._only_receives = self._wanted = True

    def _end_session(self) -> None:
        for flight in self._flights.values():
            self._settle(flight.payload, "unknown")
        self._flights.clear()
        self._pace.new_session()
        self.session = None
        self._only_receives = self._renewing = self._opened = False

    def _settle(self, payload: Payload | None, word: str) -> None:
        if payload:
            self._tell(word, ticket=payload.ticket)

    def _tell(self, event: str, **what: Any) -> None:
        self.events.append({"event": event, **what})


if __name__ == "__main__":
    from device_program import main

    main()
