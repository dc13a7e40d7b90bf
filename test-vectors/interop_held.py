"""The Python halves inside the runner, for what no honest program does: skip numbers, seal nonsense."""

import csv
import time
from collections.abc import Callable
from typing import Any

import codec
import device_store
from device import Device
from device_config import Config
from endpoint import Endpoint, Event
from interop_sides import DeviceSide, ServerSide
from records import Entry, Record, Store
from server import Server


class HeldDevice(DeviceSide):
    """A device whose inside the scenario may reach into."""

    plain = True
    config = Config(first_wait_ms=500)
    half: Device
    endpoint: Endpoint

    async def start(self) -> None:
        state = self.directory / "device"
        if not state.exists():
            device_store.provision(state, self.directory / "keys.json")
        self.half = Device(device_store.DeviceStore(state), self.config)
        self._heard({"event": "started"})
        self.endpoint = await Endpoint(self.half, self._heard, self.server).open(("127.0.0.1", 0))

    def say(self, payload: str) -> None:
        text = payload.removeprefix("plain:")
        before = len(self.events)
        ticket = self.do(lambda now: self.half.send(now, text.encode(), text == payload))
        self.events.insert(before, {"event": "sent", "ticket": ticket, "payload": text.encode().hex()})

    def do(self, act: Callable[[int], Any]) -> Any:
        return self.endpoint.do(act)

    def seal(self, content: bytes, **how: Any) -> tuple[int, bytes]:
        """Data as the scenario wants it, sent; its number and the datagram."""
        number, datagram = self.half.session.seal(content, **how)
        self.half.outbox.append((datagram, None))
        self.endpoint.flush()
        return number, datagram

    def _heard(self, event: Event) -> None:
        self.events.append({**event, "heard": time.monotonic()})

    async def kill(self) -> None:
        self.endpoint.close()

    async def finish(self) -> None:
        self.do(self.half.close)
        self.endpoint.close()


class HeldServer(ServerSide):
    """A server whose inside the scenario may reach into."""

    half: Server
    endpoint: Endpoint

    async def start(self) -> tuple[str, int]:
        self.half = Server(Store(self.directory / "server.sqlite"), first_wait_ms=500)
        for row in csv.DictReader((self.directory / "fleet" / "registry.csv").read_text().splitlines()):
            device, key = bytes.fromhex(row["device_id"]), bytes.fromhex(row["device_key"])
            self.half.add(device, int(row["generation"]), key)
        self.endpoint = await Endpoint(self.half, self._heard).open(("127.0.0.1", self.port))
        self.port = self.endpoint.address[1]
        return self.endpoint.address

    def line(self, text: str) -> None:
        verb, device, payload, *_ = text.split()
        assert verb == "send"
        self.endpoint.do(lambda now: self.half.command(now, bytes.fromhex(device), bytes.fromhex(payload)))

    @property
    def record(self) -> Record:
        return next(iter(self.half.records.values()))

    @property
    def serving(self) -> Entry:
        return self.record.serving

    def cid_for_next(self, length: int, value: int) -> None:
        """The next candidate gets this connection id."""
        self.half.greeter.choose_cid = lambda: codec.cid_encode(length, value)

    def seal(self, content: bytes, **how: Any) -> int:
        """Data as the scenario wants it, sent to the device; its number."""
        number, datagram = self.serving.session.seal(content, **how)
        self.send(datagram)
        return number

    def is_acknowledged(self, number: int) -> bool:
        return number in self.serving.session.out.acknowledged

    def send(self, datagram: bytes) -> None:
        self.half.outbox.append((datagram, self.serving.path.address))
        self.endpoint.flush()

    def _heard(self, event: Event) -> None:
        self.events.append({**event, "heard": time.monotonic()})

    async def kill(self) -> None:
        self.endpoint.close()
