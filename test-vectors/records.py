"""What a server keeps of each device, durable and volatile, and the database of the durable part. SPEC 3.2, 4.8, 7.2.

The fields of `Entry` below the line are counters: a restart loses them, and nothing makes them anew.
"""

import json
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import codec
from server_path import Path as PeerPath
from session import Session

HELLO_WINDOW = 32


@dataclass
class Entry:
    """One session: what a Welcome set up."""

    generation: int
    epoch: bytes
    salt: bytes
    server_salt: bytes
    cid: bytes
    # --- volatile
    session: Session | None = None
    confirmed: bool = False
    hello_tag: bytes | None = None
    welcome: bytes | None = field(default=None, repr=False)
    hello_from: Any = None
    welcomed: set[Any] = field(default_factory=set)
    path: PeerPath | None = None
    reset_at: int | None = None
    rotate_taken: bool = False

    DURABLE = ("epoch", "salt", "server_salt", "cid")

    def told(self) -> dict[str, Any]:
        return {"generation": self.generation, **{name: getattr(self, name).hex() for name in self.DURABLE}}

    @classmethod
    def read(cls, told: dict[str, Any] | None) -> "Entry | None":
        if told is None:
            return None
        epoch, salt, server_salt, cid = (bytes.fromhex(told[name]) for name in cls.DURABLE)
        return cls(told["generation"], epoch, salt, server_salt, cid)


@dataclass
class Record:
    device_id: bytes
    keys: dict[int, bytes] = field(repr=False)
    status: str = "active"
    newest: int = 0  # epochs as 48-bit integers
    seen: set[int] = field(default_factory=lambda: {0})
    confirmed: Entry | None = None
    candidate: Entry | None = None
    r: bytes | None = None  # of a rotation that has begun

    def hello_verdict(self, epoch: int) -> str:
        if epoch > self.newest:
            return "newest"
        return "stale" if epoch in self.seen or epoch <= self.newest - HELLO_WINDOW else "late"

    def take_epoch(self, epoch: int) -> None:
        self.newest = max(self.newest, epoch)
        self.seen = {e for e in self.seen | {epoch} if e > self.newest - HELLO_WINDOW}

    def key_by_bits(self, bits: int) -> int | None:
        """The generation that a Hello's two bits name: at most two are held, in a row."""
        return next((g for g in self.keys if g % 4 == bits), None)

    @property
    def generation(self) -> int:
        return min(self.keys)

    @property
    def entries(self) -> list[Entry]:
        return [entry for entry in (self.confirmed, self.candidate) if entry]

    @property
    def serving(self) -> Entry | None:
        """The entry of the session that serves, if it has counters: Data is sealed under no other."""
        entry = self.candidate if self.candidate and self.candidate.confirmed else self.confirmed
        return entry if entry and entry.session and entry.confirmed else None

    def told(self) -> dict[str, Any]:
        return {
            "keys": {str(g): key.hex() for g, key in self.keys.items()},
            "status": self.status,
            "newest": self.newest,
            "seen": sorted(self.seen),
            "confirmed": self.confirmed and self.confirmed.told(),
            "candidate": self.candidate and self.candidate.told(),
            "r": self.r and self.r.hex(),
        }

    @classmethod
    def read(cls, device_id: bytes, told: dict[str, Any]) -> "Record":
        keys = {int(g): bytes.fromhex(key) for g, key in told["keys"].items()}
        entries = Entry.read(told["confirmed"]), Entry.read(told["candidate"])
        r = told["r"] and bytes.fromhex(told["r"])
        return cls(device_id, keys, told["status"], told["newest"], set(told["seen"]), *entries, r)


@dataclass
class Command:
    """A command in the durable queue: *queued*, then *sent*; it leaves the queue with its outcome (9.5)."""

    number: int
    payload: bytes
    idempotent: bool = False
    expires: float | None = None  # seconds since the Unix epoch
    sent: bool = False


class Store:
    """A SQLite file. Every call returns when what it wrote is on stable storage."""

    def __init__(self, path: Path) -> None:
        path.touch(0o600)
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("CREATE TABLE IF NOT EXISTS records (device BLOB PRIMARY KEY, content TEXT)")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS commands (number INTEGER PRIMARY KEY AUTOINCREMENT, device BLOB, content TEXT)"
        )

    def records(self) -> list[Record]:
        rows = self._db.execute("SELECT device, content FROM records ORDER BY device")
        return [Record.read(device, json.loads(content)) for device, content in rows]

    def save(self, record: Record) -> None:
        row = (record.device_id, json.dumps(record.told()))
        self._db.execute("INSERT OR REPLACE INTO records VALUES (?, ?)", row)

    def commands(self, device_id: bytes) -> list[Command]:
        rows = self._db.execute("SELECT number, content FROM commands WHERE device = ? ORDER BY number", (device_id,))
        commands = [(number, json.loads(content)) for number, content in rows]
        return [Command(n, bytes.fromhex(c.pop("payload")), **c) for n, c in commands]

    def queue(self, device_id: bytes, payload: bytes, idempotent: bool, expires: float | None) -> Command:
        command = Command(0, payload, idempotent, expires)
        done = self._db.execute("INSERT INTO commands (device, content) VALUES (?, ?)", (device_id, _content(command)))
        command.number = done.lastrowid
        return command

    def mark(self, command: Command, sent: bool) -> None:
        command.sent = sent
        self._db.execute("UPDATE commands SET content = ? WHERE number = ?", (_content(command), command.number))

    def remove(self, command: Command) -> None:
        self._db.execute("DELETE FROM commands WHERE number = ?", (command.number,))

    def close(self) -> None:
        self._db.close()


def _content(command: Command) -> str:
    told = {"idempotent": command.idempotent, "expires": command.expires, "sent": command.sent}
    return json.dumps({"payload": command.payload.hex(), **told})


def free_cid(records: list[Record], length: int) -> bytes:
    """One that no durable record names, of this length or, when that is used up, of the next (M-11, M-12)."""
    used = {entry.cid for record in records for entry in record.entries}
    for longer in range(length, 5):
        for value in range(min(1 << 8 * longer - 2, len(used) + 1)):
            if (cid := codec.cid_encode(longer, value)) not in used:
                return cid
    raise OSError("no connection id is free")
