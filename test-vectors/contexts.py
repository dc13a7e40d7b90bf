"""The states in which the negative cases are received, and how they are written to JSON."""

from dataclasses import dataclass, replace

import codec
from fleet import ALICE, BOB, CAROL, Device, Session, session
from keys import epoch_bytes
from tables import DATA_WINDOW, HELLO_WINDOW, Window


@dataclass(frozen=True)
class Counters:
    """One side's view of a session: what it verified, in order, and what it sent."""

    received: tuple[codec.Sealed, ...]
    numbers: tuple[int, ...]
    next_number: int
    acknowledged: tuple[int, ...]

    @property
    def window(self) -> Window:
        return Window(DATA_WINDOW, self.numbers)

    @property
    def highest_acknowledged(self) -> int | None:
        return max(self.acknowledged, default=None)

    def values(self) -> dict:
        return {
            "highest_verified": self.window.highest,
            "seen": self.window.seen(),
            "next_number": self.next_number,
            "acknowledged": list(self.acknowledged),
            "received": [sealed.datagram.hex() for sealed in self.received],
        }


def counters(send, received: list[tuple[int, dict]], next_number: int) -> Counters:
    """`send` is the peer's; each received Data is a number and how it was sealed."""
    datagrams, acknowledged = [], set()
    for number, how in received:
        datagrams.append(send(number, b"received %d" % number, **how))
        acknowledged |= set(codec.ack_decode(how["ack"])) if "ack" in how else set()
    numbers = tuple(number for number, _ in received)
    return Counters(tuple(datagrams), numbers, next_number, tuple(sorted(acknowledged)))


@dataclass(frozen=True)
class Entry:
    """A session as one side keeps it; without counters after a crash."""

    session: Session
    counters: Counters | None
    welcome_kept: bool = True

    def values(self) -> dict:
        made = self.session
        return {
            "generation": made.device.generation,
            "epoch": made.epoch.hex(),
            "salt": made.salt.hex(),
            "server_salt": made.server_salt.hex(),
            "cid": made.cid.hex(),
            "up_key": made.up_key.hex(),
            "down_key": made.down_key.hex(),
            "hello": made.hello().datagram.hex(),
            "welcome": made.welcome().datagram.hex(),
            "welcome_kept": self.welcome_kept,
            "counters": self.counters.values() if self.counters else None,
        }


def _values(entry: Entry | None) -> dict | None:
    return entry.values() if entry else None


@dataclass(frozen=True)
class DeviceContext:
    description: str
    device: Device
    hello: Session | None = None
    session: Entry | None = None
    receiver = "device"

    def values(self) -> dict:
        return {
            "receiver": "device",
            "description": self.description,
            "suite": 1,
            "device_id": self.device.device_id.hex(),
            "generation": self.device.generation,
            "device_key": self.device.key.hex(),
            "rotation_key": self.device.rotation_key.hex(),
            "hello": self._hello_values(),
            "session": _values(self.session),
        }

    def _hello_values(self) -> dict | None:
        if self.hello is None:
            return None
        return {
            "epoch": self.hello.epoch.hex(),
            "salt": self.hello.salt.hex(),
            "payload": self.hello.early_data.hex(),
            "datagram": self.hello.hello().datagram.hex(),
        }


@dataclass(frozen=True)
class Record:
    """What the server holds of one device."""

    devices: tuple[Device, ...]
    status: str = "active"
    epochs: tuple[bytes, ...] = ()
    candidate: Entry | None = None
    confirmed: Entry | None = None

    @property
    def window(self) -> Window:
        return Window(HELLO_WINDOW, [int.from_bytes(epoch, "big") for epoch in self.epochs])

    @property
    def newest(self) -> bytes | None:
        return max(self.epochs, default=None)

    def values(self) -> dict:
        return {
            "device_id": self.devices[0].device_id.hex(),
            "suite": 1,
            "status": self.status,
            "keys": [{"generation": d.generation, "device_key": d.key.hex()} for d in self.devices],
            "newest_epoch": self.newest.hex() if self.newest else None,
            "hello_window_seen": self.window.seen(),
            "candidate": _values(self.candidate),
            "confirmed": _values(self.confirmed),
        }


@dataclass(frozen=True)
class ServerContext:
    description: str
    records: tuple[Record, ...]
    receiver = "server"

    def values(self) -> dict:
        return {"receiver": "server", "description": self.description, "devices": [r.values() for r in self.records]}


# --- the sessions of the negative cases ------------------------------------------------------

DAVE = Device(bytes.fromhex("0242acfffe110004"))
ERIN = Device(bytes.fromhex("0242acfffe110005"))
STRANGER = Device(bytes.fromhex("0242acfffe1100ff"))

CID_ALICE, CID_BOB = codec.cid_encode(1, 5), codec.cid_encode(2, 300)
CID_DAVE, CID_ERIN = codec.cid_encode(3, 70_000), codec.cid_encode(4, 0x12345678)

OLDER = session(ALICE, "negative older", 4, 0, CID_ALICE)
CURRENT = session(ALICE, "negative current", 4, 2, CID_ALICE, b"21.5 C")
NEXT = session(ALICE, "negative next", 4, 3, codec.cid_encode(1, 6), b"22.0 C")
BOBS = session(BOB, "negative bob", 11, 0, CID_BOB)
DAVES = session(DAVE, "negative dave", 3, 0, CID_DAVE)
ERINS = session(ERIN, "negative erin", 3, 0, CID_ERIN)

# The device has sent 0 to 299 and knows that 0 to 6 and 9 arrived.
DEVICE_COUNTERS = counters(
    CURRENT.down,
    [
        (0, {"ack": codec.ack_encode(0)}),
        (1, {"ack": codec.ack_encode(6, {1, 2, 3, 4, 5})}),
        (2, {}),
        (60, {"c": True, "ack": codec.ack_encode(6)}),
        (62, {"seq_len": 1}),
        (70, {"ack": codec.ack_encode(9)}),
    ],
    300,
)
# The server has sent 0 to 2 and knows that 0 and 1 arrived.
SERVER_COUNTERS = counters(
    CURRENT.up,
    [
        (0, {"c": True}),
        (1, {"ack": codec.ack_encode(0)}),
        (2, {"ack": codec.ack_encode(1, {0})}),
        (60, {}),
        (62, {"seq_len": 1}),
        (70, {"c": True}),
    ],
    3,
)
BOB_COUNTERS = counters(BOBS.up, [(0, {"c": True})], 1)
FRESH = Counters((), (), 0, ())


def contexts() -> dict[str, DeviceContext | ServerContext]:
    return {**_device_contexts(), **_server_contexts()}


def _device_contexts() -> dict[str, DeviceContext]:
    in_session = DeviceContext("In a session, no Hello outstanding.", ALICE, session=Entry(CURRENT, DEVICE_COUNTERS))
    just_opened = Entry(CURRENT, replace(FRESH, next_number=1))
    return {
        "device-idle": DeviceContext("Booted, has sent nothing.", ALICE),
        "device-hello": DeviceContext("A Hello is outstanding, no session.", ALICE, hello=NEXT),
        "device-session": in_session,
        "device-renewing": replace(
            in_session, description="In a session, and a newer Hello is outstanding.", hello=NEXT
        ),
        "device-fresh": DeviceContext(
            "The Welcome has come, Data 0 is sent, nothing acknowledged.", ALICE, session=just_opened
        ),
    }


def _server_contexts() -> dict[str, ServerContext]:
    epochs = (OLDER.epoch, CURRENT.epoch)
    alice = Record((ALICE,), epochs=epochs, confirmed=Entry(CURRENT, SERVER_COUNTERS))
    bob = Record((BOB,), epochs=(BOBS.epoch,), confirmed=Entry(BOBS, BOB_COUNTERS))
    carol = Record((CAROL, Device(CAROL.device_id, 3)), epochs=(epoch_bytes(1, 0),))
    dave = Record((DAVE,), "revoked", (DAVES.epoch,), confirmed=Entry(DAVES, FRESH))
    erin = Record((ERIN,), "quarantined", (ERINS.epoch,), confirmed=Entry(ERINS, FRESH))

    def server(description: str, record: Record) -> ServerContext:
        return ServerContext(description, (record, bob, carol, dave, erin))

    lost = Entry(CURRENT, None, welcome_kept=False)
    return {
        "server-no-session": server(
            "The first device is known by two epochs and has no session.", replace(alice, confirmed=None)
        ),
        "server-session": server("The first device is in a session.", alice),
        "server-candidate": server(
            "The first device's Hello was answered, nothing came under it yet.",
            replace(alice, confirmed=None, candidate=Entry(CURRENT, FRESH)),
        ),
        "server-restarted": server(
            "After a crash: the entry of the session without counters.", replace(alice, confirmed=lost)
        ),
        "server-restarted-candidate": server(
            "After a crash: the candidate without counters and without its Welcome.",
            replace(alice, confirmed=None, candidate=lost),
        ),
    }
