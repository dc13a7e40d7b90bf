"""A server: the half of the protocol that knows all devices. SPEC sections 7, 9 and 10, one gateway.

It has no socket and no clock: `receive` and `poll` take the time in milliseconds; datagrams come out in `outbox`,
what an application should hear in `events`. What must be durable is written before either. Left out: the journal and
restored backups (7.7), more than one gateway (8). As a program: `python3 server.py --help`.
"""

from collections import deque
from typing import Any

import codec
from codec import Parsed
from device_control import epoch_text
from keys import rotate, session_keys
from randomness import fresh
from records import Entry, Record, Store
from server_commands import Sender
from server_hello import Greeter
from server_path import Path
from session import MAX_FAILURES, Dropped, Exhausted, Opened, Session, read_number

RESET_INTERVAL_MS = 1000
UPLINK_LENGTHS = {codec.KIND_CLOSE: 1, codec.KIND_MOVED: 5}
LAST_GENERATION = 255


class Server:
    def __init__(self, store: Store, cid_length: int = 1, first_wait_ms: int = 2000) -> None:
        self.outbox: deque[tuple[bytes, Any]] = deque()
        self.events: deque[dict[str, Any]] = deque()
        self._store = store
        self.records = {record.device_id: record for record in store.records()}
        send = lambda datagram, to: self.outbox.append((datagram, to))  # noqa: E731
        self.greeter = Greeter(self.records, store, cid_length, self._tell, send)
        self.sender = Sender(store, first_wait_ms, self._tell, send)
        self._send = send
        for record in self.records.values():
            self.sender.load(record)

    # --- what an operator does ---------------------------------------------------------------

    def add(self, device_id: bytes, generation: int, device_key: bytes) -> None:
        """A device that was provisioned into this very store; one that is known stays as it is."""
        if device_id not in self.records:
            record = self.records[device_id] = Record(device_id, {generation: device_key})
            self._store.save(record)
            self.sender.load(record)

    def command(
        self, now: int, device_id: bytes, payload: bytes, idempotent: bool = False, expires_s: float | None = None
    ) -> int:
        return self.sender.queue(now, self.records[device_id], payload, idempotent, expires_s)

    def rotate(self, now: int, device_id: bytes, rotation_key: bytes) -> None:
        """One r per generation, durable before it is sealed (M-117)."""
        record = self.records[device_id]
        if record.r is None and record.generation < LAST_GENERATION:
            step = rotate(rotation_key, device_id, record.generation, fresh(16))
            record.keys[step.generation], record.r = step.device_key, step.r
            self._store.save(record)
            self._tell("rotation_begun", device=device_id.hex(), generation=step.generation)
        self.sender.go_on(now, record)

    def set_status(self, device_id: bytes, status: str) -> None:
        """`revoked` is final (M-5)."""
        record = self.records[device_id]
        if record.status != "revoked":
            record.status = status
            self._store.save(record)
            self.sender.refuse_all(record)
            for entry in record.entries:
                entry.session = entry.welcome = None
        self._tell("readmitted" if record.status == "active" else record.status, device=device_id.hex())

    # --- time --------------------------------------------------------------------------------

    def deadline(self) -> int | None:
        flights = self.sender.flights.values()
        return min((f.repeats.due for f in flights if f.repeats.due is not None), default=None)

    def poll(self, now: int) -> None:
        for device_id in list(self.sender.flights):
            self.sender.poll(now, self.records[device_id])

    # --- what comes --------------------------------------------------------------------------

    def receive(self, now: int, datagram: bytes, source: Any) -> None:
        """Raises `Dropped` or `Malformed` for what has no effect."""
        parsed = codec.parse(datagram)
        if parsed.kind == "hello":
            self.greeter.receive(now, parsed, datagram, source)
        elif parsed.kind == "data":
            record, entry = self._entry(parsed.fields["cid"])
            if entry.session is None:
                self._reset(now, record, entry, parsed, source)
            else:
                self._data(now, record, entry, parsed, len(datagram), source)
        else:
            raise Dropped("wrong_direction")

    def _entry(self, cid: bytes) -> tuple[Record, Entry]:
        for record in self.records.values():
            for entry in record.entries:
                if entry.cid == cid:
                    if record.status != "active":
                        raise Dropped("device_not_active")
                    return record, entry
        raise Dropped("unknown_cid")

    def _reset(self, now: int, record: Record, entry: Entry, parsed: Parsed, source: Any) -> None:
        """No counters: nothing but Reset (M-73 to M-75)."""
        number = read_number(parsed, None)
        key = record.keys[entry.generation]
        up, down = session_keys(key, record.device_id, entry.epoch, entry.salt, entry.server_salt)
        if parsed.open(up, codec.data_nonce(number)) is None:
            raise Dropped("bad_tag")
        if entry.reset_at is not None and now - entry.reset_at < RESET_INTERVAL_MS:
            raise Dropped("no_counters")
        entry.reset_at = now
        self._send(codec.reset(down, entry.cid, number, len(parsed.fields["seq"])).datagram, source)
        self._tell("reset", device=record.device_id.hex())

    def _data(self, now: int, record: Record, entry: Entry, parsed: Parsed, length: int, source: Any) -> None:
        session: Session = entry.session
        try:
            opened = session.receive(parsed, _control_fault)
        finally:
            if session.failures >= MAX_FAILURES:
                entry.session = None
                self.sender.session_ended(record)
        if opened.repeat:
            if entry.path and session.may_answer_repeat(now):
                self._acknowledge(entry, opened)
            return
        self._follow(record, entry, opened, length, source)
        if not opened.well_formed:
            self._tell("malformed", device=record.device_id.hex(), seq=opened.number, reason=opened.malformed)
            return
        for number in opened.newly_acknowledged:
            entry.path.acknowledged(source, number)
        self.sender.acknowledged(record, opened)
        self._contents(record, entry, opened)
        if entry.session is None:
            return
        answered = opened if opened.c else None
        if not self.sender.go_on(now, record, answered) and opened.c:
            self._acknowledge(entry, opened)
        self.sender.device_spoke(record)

    def _follow(self, record: Record, entry: Entry, opened: Opened, length: int, source: Any) -> None:
        """The candidate's first Data confirms it; the address follows the highest number (7.3, 7.5)."""
        if not entry.confirmed:
            free = source == entry.hello_from and entry.welcomed == {source}
            entry.path = Path(source, free, mark=entry.session.out.next_number)
            self._confirm(record, entry)
        entry.path.received(source, length, opened.highest, entry.session.out.next_number)

    def _confirm(self, record: Record, entry: Entry) -> None:
        self.sender.session_ended(record)
        if record.confirmed:
            record.confirmed.session = None
        entry.confirmed = True
        self._tell("session", device=record.device_id.hex(), epoch=epoch_text(entry.epoch))
        if record.r and entry.generation == max(record.keys):  # M-123
            record.keys = {entry.generation: record.keys[entry.generation]}
            record.r = None
            if record.confirmed and record.confirmed.generation != entry.generation:
                record.confirmed = None
            self._store.save(record)
            self._tell("rotation_finished", device=record.device_id.hex(), generation=entry.generation)

    def _contents(self, record: Record, entry: Entry, opened: Opened) -> None:
        device = record.device_id.hex()
        if opened.control:
            if opened.payload[0] == codec.KIND_CLOSE:
                entry.session = None
                self.sender.session_ended(record)
                self._tell("closed", device=device)
            elif opened.payload[0] == codec.KIND_MOVED:
                self._tell("moved", device=device, **{"from": int.from_bytes(opened.payload[1:], "big")})
        elif opened.payload:
            epoch = epoch_text(entry.epoch)
            self._tell("data", device=device, epoch=epoch, seq=opened.number, payload=opened.payload.hex())

    def _acknowledge(self, entry: Entry, opened: Opened) -> None:
        """To the session's address, never to the source of a repeat (M-72)."""
        try:
            _, datagram = entry.session.seal(block=entry.session.into.block(opened.number, opened.repeat))
        except Exhausted:
            return
        if entry.path.take(len(datagram)):
            self._send(datagram, entry.path.address)

    def _tell(self, event: str, **what: Any) -> None:
        self.events.append({"event": event, **what})


def _control_fault(message: bytes, c: bool) -> str | None:
    if message[0] == codec.KIND_ROTATE:
        return "control_wrong_direction"
    if len(message) != UPLINK_LENGTHS.get(message[0], len(message)):
        return "control_length"
    return "close_with_c" if message[0] == codec.KIND_CLOSE and c else None


if __name__ == "__main__":
    from server_program import main

    main()
