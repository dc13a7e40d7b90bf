"""A half on a UDP socket: hands it datagrams and the time, and sends what it has to send.

A half is anything with `receive`, `poll`, `deadline`, `outbox` and `events`: `device.Device`, `server.Server`.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from codec import Malformed
from session import Dropped

Event = dict[str, Any]


def now_ms() -> int:
    """A clock that does not run backwards."""
    return time.monotonic_ns() // 1_000_000


def print_event(event: Event) -> None:
    print(json.dumps({"event": event["event"], "at": time.time_ns() // 1_000_000, **event}), flush=True)


class Endpoint(asyncio.DatagramProtocol):
    def __init__(self, half: Any, on_event: Callable[[Event], None], peer: tuple[str, int] | None = None) -> None:
        self.half = half
        self.transport: asyncio.DatagramTransport
        self._on_event, self._peer = on_event, peer
        self._timer: asyncio.TimerHandle | None = None
        self.dropped: dict[str, int] = {}

    async def open(self, address: tuple[str, int]) -> "Endpoint":
        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=address)
        return self

    @property
    def address(self) -> tuple[str, int]:
        return self.transport.get_extra_info("sockname")[:2]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        try:
            self.half.receive(now_ms(), data, addr)
        except (Dropped, Malformed) as reason:
            self.dropped[str(reason)] = self.dropped.get(str(reason), 0) + 1
        self.flush()

    def do(self, act: Callable[[int], Any]) -> Any:
        """Calls the half with the time, and sends what comes of it."""
        result = act(now_ms())
        self.flush()
        return result

    def flush(self) -> None:
        # Events first: what is acknowledged on the wire has been told before.
        while self.half.events:
            self._on_event(self.half.events.popleft())
        while self.half.outbox:
            datagram, to = self.half.outbox.popleft()
            self.transport.sendto(datagram, to or self._peer)
        if self._timer:
            self._timer.cancel()
            self._timer = None
        due = self.half.deadline()
        if due is not None:
            wait = max(due - now_ms(), 0) / 1000
            self._timer = asyncio.get_running_loop().call_later(wait, self._poll)

    def _poll(self) -> None:
        self.do(self.half.poll)

    def close(self) -> None:
        if self._timer:
            self._timer.cancel()
        self.transport.close()


async def lines_of_stdin() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    return reader


def address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)
