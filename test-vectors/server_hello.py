"""How a server takes a Hello: verify, tell which of the five cases it is, write, deliver, answer. SPEC 7.1, 7.2."""

from typing import Any

import codec
from codec import Parsed
from device_control import epoch_text
from keys import hello_key, session_keys
from randomness import fresh
from records import Entry, Record, Store, free_cid
from server_path import FloorLimit
from session import Dropped, Session

FIRST_RESERVED_BOOT = 0xFF000000
FIRST_FORBIDDEN_FLOOR = 0xFEFFFFFF
JUMP = 2**20


class Greeter:
    """Answers Hellos. `tell` takes events, `send` datagrams."""

    def __init__(self, records: dict[bytes, Record], store: Store, cid_length: int, tell: Any, send: Any) -> None:
        self._records, self._store = records, store
        self.choose_cid = lambda: free_cid(list(records.values()), cid_length)
        self._tell, self._send = tell, send
        self._limit = FloorLimit()

    def receive(self, now: int, parsed: Parsed, datagram: bytes, source: Any) -> None:
        record, generation = self._route(parsed)
        epoch, salt, tag = parsed.fields["epoch"], parsed.fields["salt"], datagram[-16:]
        payload = parsed.open(hello_key(record.keys[generation], record.device_id), epoch + salt)
        if payload is None:
            raise Dropped("bad_tag")
        if int.from_bytes(epoch[:4], "big") >= FIRST_RESERVED_BOOT:
            self._tell("reserved_boot", device=record.device_id.hex(), epoch=epoch_text(epoch))
            raise Dropped("boot_count_reserved")
        candidate, confirmed = record.candidate, record.confirmed
        if candidate and candidate.confirmed:
            candidate, confirmed = None, candidate
        if candidate and candidate.welcome and (epoch, salt, tag) == _name(candidate):
            candidate.welcomed.add(source)
            self._send(candidate.welcome, source)
            return
        if confirmed and (epoch, salt) == (confirmed.epoch, confirmed.salt) and confirmed.hello_tag in (None, tag):
            raise Dropped("replayed")
        verdict = record.hello_verdict(int.from_bytes(epoch, "big"))
        if verdict == "stale":
            self._floor(now, record, generation, epoch, salt, source)
            return
        self._accept(record, generation, verdict == "newest", epoch, salt, tag, payload, source)

    def _route(self, parsed: Parsed) -> tuple[Record, int]:
        record = self._records.get(parsed.fields["device_id"])
        if record is None:
            raise Dropped("unknown_device")
        if record.status != "active":
            raise Dropped("device_not_active")
        generation = record.key_by_bits(parsed.flags >> 2 & 3)
        if generation is None:
            raise Dropped("unknown_generation")
        return record, generation

    def _floor(self, now: int, record: Record, generation: int, epoch: bytes, salt: bytes, source: Any) -> None:
        newest = record.newest.to_bytes(6, "big")
        if int.from_bytes(newest[:4], "big") >= FIRST_FORBIDDEN_FLOOR:
            raise Dropped("floor_forbidden")
        if not self._limit.take(now, source):
            raise Dropped("floor_limited")
        self._send(codec.floor(record.keys[generation], record.device_id, epoch, salt, newest).datagram, source)
        self._tell("floor", device=record.device_id.hex())

    def _accept(
        self,
        record: Record,
        generation: int,
        newest: bool,
        epoch: bytes,
        salt: bytes,
        tag: bytes,
        payload: bytes,
        source: Any,
    ) -> None:
        """One durable write, only then the payload, only then the answer (M-54, M-57)."""
        device = record.device_id.hex()
        if newest and (int.from_bytes(epoch, "big") >> 16) - (record.newest >> 16) > JUMP:
            self._tell("jump", device=device, epoch=epoch_text(epoch))
        record.take_epoch(int.from_bytes(epoch, "big"))
        entry = self._candidate(record, generation, epoch, salt) if newest else None
        if entry:
            if record.candidate and record.candidate.confirmed:
                record.confirmed = record.candidate  # M-64
            record.candidate = entry
        self._store.save(record)
        self._tell("hello", device=device, epoch=epoch_text(epoch))
        if payload:
            self._tell("early", device=device, epoch=epoch_text(epoch), payload=payload.hex())
        if entry:
            up, down = session_keys(record.keys[generation], record.device_id, epoch, salt, entry.server_salt)
            entry.session = Session(entry.cid, down, up)
            entry.welcome = codec.welcome(down, salt, entry.server_salt, entry.cid, bool(payload)).datagram
            entry.hello_tag, entry.hello_from = tag, source
            entry.welcomed.add(source)
            self._send(entry.welcome, source)

    def _candidate(self, record: Record, generation: int, epoch: bytes, salt: bytes) -> Entry:
        return Entry(generation, epoch, salt, fresh(8), self.choose_cid())


def _name(entry: Entry) -> tuple[bytes, bytes, bytes | None]:
    return entry.epoch, entry.salt, entry.hello_tag
