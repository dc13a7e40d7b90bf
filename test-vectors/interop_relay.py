"""The network between two programs on the loopback interface: it carries, harms on demand, and writes everything down.

Each client of the relay gets a socket of its own towards the server, so that its address can move.
"""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

UP, DOWN = "up", "down"


@dataclass
class Faults:
    """Shares of all datagrams, 0 to 1, that meet each fate."""

    lost: float = 0.0
    doubled: float = 0.0
    late: float = 0.0  # overtaken by others
    harmed: float = 0.0
    replayed: float = 0.0  # an old one of the same direction is sent along
    late_ms: int = 300


NONE = Faults()
ROUGH = Faults(lost=0.08, doubled=0.06, late=0.08, harmed=0.03, replayed=0.08)


@dataclass(frozen=True)
class Packet:
    """A datagram at one moment: when its sender let it go, or when its receiver got it."""

    at: float
    direction: str
    delivered: bool
    datagram: bytes = field(repr=False)
    path: int = 0  # which of the client's addresses, as the server sees them


# Takes direction and datagram; what is returned is delivered in its place, None leaves it to the faults.
Filter = Callable[[str, bytes], list[bytes] | None]


class _Socket(asyncio.DatagramProtocol):
    def __init__(self, received: Callable[[bytes, tuple[str, int]], None]) -> None:
        self._received = received
        self.transport: asyncio.DatagramTransport

    async def open(self) -> "_Socket":
        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        return self

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        # A copy: asyncio reads into 256 KiB, and what is left of such a buffer keeps a memory mapping of its own.
        self._received(bytes(memoryview(data)), addr)

    def send(self, datagram: bytes, to: tuple[str, int]) -> None:
        if not self.transport.is_closing():
            self.transport.sendto(datagram, to)

    def close(self) -> None:
        self.transport.close()

    @property
    def address(self) -> tuple[str, int]:
        return self.transport.get_extra_info("sockname")[:2]


class Relay:
    """For one device. `server` may be told later, and anew after a restart."""

    def __init__(self, seed: int) -> None:
        self.faults = NONE
        self.filter: Filter | None = None
        self.server: tuple[str, int] | None = None
        self.deaf: set[int] = set()  # addresses of somebody else: what goes there does not reach the device
        self.log: list[Packet] = []
        self.path = 0
        self._random = random.Random(seed)
        self._paths: list[_Socket] = []
        self._client: tuple[str, int] | None = None

    async def open(self) -> "Relay":
        self._front = await _Socket(self._from_client).open()
        await self.move()
        return self

    async def move(self) -> int:
        """From now on the server sees the device at another address; those before still lead to it."""
        path = len(self._paths)
        self._paths.append(await _Socket(lambda data, _from: self._from_server(path, data)).open())
        self.path = path
        return path

    @property
    def address(self) -> tuple[str, int]:
        return self._front.address

    def datagrams(self, direction: str, delivered: bool = False) -> list[bytes]:
        return [p.datagram for p in self.log if p.direction == direction and p.delivered == delivered]

    def inject(self, direction: str, datagram: bytes, path: int | None = None) -> None:
        """Delivers what the attacker made, or took off the air."""
        self._deliver(direction, datagram, self.path if path is None else path)

    def close(self) -> None:
        for socket in [self._front, *self._paths]:
            socket.close()

    def _from_client(self, datagram: bytes, source: tuple[str, int]) -> None:
        self._client = source
        self._carry(UP, datagram, self.path)

    def _from_server(self, path: int, datagram: bytes) -> None:
        self._carry(DOWN, datagram, path)

    def _carry(self, direction: str, datagram: bytes, path: int) -> None:
        self.log.append(Packet(time.monotonic(), direction, False, datagram, path))
        if direction == DOWN and path in self.deaf:
            return
        instead = self.filter(direction, datagram) if self.filter else None
        if instead is not None:
            for other in instead:
                self._deliver(direction, other, path)
            return
        chance, faults = self._random.random, self.faults
        if chance() < faults.replayed:
            old = self._random.choice(self.datagrams(direction))
            self._later(direction, old, path)
        if chance() < faults.lost:
            return
        if chance() < faults.harmed:
            self._deliver(direction, harmed(self._random, datagram), path)
            return
        if chance() < faults.doubled:
            self._later(direction, datagram, path)
        if chance() < faults.late:
            self._later(direction, datagram, path)
        else:
            self._deliver(direction, datagram, path)

    def _later(self, direction: str, datagram: bytes, path: int) -> None:
        wait = self._random.uniform(0, self.faults.late_ms) / 1000
        asyncio.get_running_loop().call_later(wait, self._deliver, direction, datagram, path)

    def _deliver(self, direction: str, datagram: bytes, path: int) -> None:
        self.log.append(Packet(time.monotonic(), direction, True, datagram, path))
        if direction == DOWN and self._client:
            self._front.send(datagram, self._client)
        elif direction == UP and self.server:
            self._paths[path].send(datagram, self.server)


def harmed(chance: random.Random, datagram: bytes) -> bytes:
    """One bit flipped, an end cut off, or bytes added."""
    kind = chance.randrange(3)
    if kind == 0 and len(datagram) > 1:
        return datagram[: chance.randrange(1, len(datagram))]
    if kind == 1:
        return datagram + chance.randbytes(chance.randrange(1, 40))
    bit = chance.randrange(8 * len(datagram))
    flipped = bytearray(datagram)
    flipped[bit // 8] ^= 1 << bit % 8
    return bytes(flipped)
