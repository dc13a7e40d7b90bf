"""What a server sends with C: commands from the queue, and *rotate*; one at a time per device. SPEC 9, 10.2."""

import time
from dataclasses import dataclass
from typing import Any

import codec
from records import Command, Entry, Record, Store
from repeats import Repeats
from session import WINDOW, Opened

REPEATS = 4
LONGEST_HEADER_AND_TAG = 26


@dataclass
class Flight:
    """A Data with C that is not acknowledged; `command` is None for a *rotate*."""

    entry: Entry
    number: int
    datagram: bytes
    repeats: Repeats
    command: Command | None


class Sender:
    def __init__(self, store: Store, first_wait_ms: int, tell: Any, send: Any) -> None:
        self._store, self._first_wait_ms, self._tell, self._send = store, first_wait_ms, tell, send
        self._queues: dict[bytes, list[Command]] = {}
        self.flights: dict[bytes, Flight] = {}

    def load(self, record: Record) -> None:
        """After a start nothing has counters: what was sent has no session any more (M-103)."""
        self._queues[record.device_id] = self._store.commands(record.device_id)
        for command in [c for c in self._queues[record.device_id] if c.sent]:
            self._unknown(record, command)

    def queue(self, now: int, record: Record, payload: bytes, idempotent: bool, expires_s: float | None) -> int:
        expires = None if expires_s is None else time.time() + expires_s
        command = self._store.queue(record.device_id, payload, idempotent, expires)
        self._queues[record.device_id].append(command)
        self._tell("queued", device=record.device_id.hex(), command=command.number)
        self.go_on(now, record)
        return command.number

    # --- out ---------------------------------------------------------------------------------

    def go_on(self, now: int, record: Record, answered: Opened | None = None) -> bool:
        """Sends what is next, if nothing is in flight; whether a Data went that acknowledges `answered`."""
        entry = record.serving
        if record.status != "active" or entry is None or record.device_id in self.flights:
            return False
        if entry.session.out.next_number > codec.MAX_NUMBER:
            return False
        if record.r and entry.generation == record.generation and not entry.rotate_taken:
            message = bytes([codec.KIND_ROTATE, entry.generation + 1]) + record.r
            return self._fly(now, record, entry, message, None, answered)
        self._expire(record)
        queued = self._queues[record.device_id]
        return bool(queued) and self._fly(now, record, entry, queued[0].payload, queued[0], answered)

    def _fly(
        self, now: int, record: Record, entry: Entry, message: bytes, command: Command | None, answered: Opened | None
    ) -> bool:
        if not entry.path.take(len(message) + LONGEST_HEADER_AND_TAG):
            return False
        if command:
            self._store.mark(command, sent=True)  # before it is sealed (M-106)
            self._tell("sent", device=record.device_id.hex(), command=command.number)
        block = entry.session.into.block(answered.number if answered else None)
        number, datagram = entry.session.seal(message, c=True, k=command is None, block=block)
        repeats = Repeats(self._first_wait_ms, REPEATS).start(now)
        self.flights[record.device_id] = Flight(entry, number, datagram, repeats, command)
        self._send(datagram, entry.path.address)
        return True

    def _expire(self, record: Record) -> None:
        queue = self._queues[record.device_id]
        while queue and queue[0].expires is not None and queue[0].expires <= time.time():
            self._settle(record, queue[0], "expired")

    def poll(self, now: int, record: Record) -> None:
        flight = self.flights.get(record.device_id)
        if flight and flight.repeats.expired(now) and flight.repeats.again(now):
            self._again(record, flight)

    def _again(self, record: Record, flight: Flight) -> None:
        if record.status == "active" and flight.entry.path.take(len(flight.datagram)):
            self._send(flight.datagram, flight.entry.path.address)

    def device_spoke(self, record: Record) -> None:
        """Repeats that ran out go on with each newly verified Data (M-98)."""
        flight = self.flights.get(record.device_id)
        if flight and flight.repeats.due is None:
            self._again(record, flight)

    # --- outcomes ----------------------------------------------------------------------------

    def acknowledged(self, record: Record, opened: Opened) -> None:
        flight = self.flights.get(record.device_id)
        if flight is None or not opened.named:
            return
        if flight.number in opened.newly_acknowledged:
            del self.flights[record.device_id]
            if flight.command:
                self._settle(record, flight.command, "acknowledged")
            else:
                flight.entry.rotate_taken = True
        elif flight.number <= opened.named[-1] - WINDOW:  # M-128
            self.session_ended(record)

    def session_ended(self, record: Record) -> None:
        flight = self.flights.pop(record.device_id, None)
        if flight and flight.command:
            self._unknown(record, flight.command)

    def refuse_all(self, record: Record) -> None:
        self.flights.pop(record.device_id, None)
        for command in list(self._queues[record.device_id]):
            self._settle(record, command, "refused")

    def _unknown(self, record: Record, command: Command) -> None:
        expired = command.expires is not None and command.expires <= time.time()
        again = command.idempotent and not expired
        self._tell("unknown", device=record.device_id.hex(), command=command.number, requeued=again)
        if again:
            self._store.mark(command, sent=False)
        else:
            self._forget(record, command)

    def _settle(self, record: Record, command: Command, word: str) -> None:
        self._tell(word, device=record.device_id.hex(), command=command.number)
        self._forget(record, command)

    def _forget(self, record: Record, command: Command) -> None:
        self._queues[record.device_id].remove(command)
        self._store.remove(command)
