"""One run: a device, a server, the relay between them, a directory of their own; and what must hold at its end."""

import asyncio
import csv
import itertools
import json
import random
import secrets
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from interop_audit import Auditor
from interop_relay import DOWN, NONE, UP, Faults, Packet, Relay, harmed
from interop_sides import (
    DeviceSide,
    Failed,
    PythonDevice,
    PythonServer,
    RustDevice,
    RustServer,
    ServerSide,
    write_secret,
)

DEVICES: dict[str, type[DeviceSide]] = {"python": PythonDevice, "rust": RustDevice}
SERVERS: dict[str, type[ServerSide]] = {"python": PythonServer, "rust": RustServer}


class World:
    def __init__(
        self, directory: Path, seed: int, patience: float, pair: str, program: Path, broken: str | None = None
    ) -> None:
        self.chance = random.Random(seed)
        self.directory, self.patience, self.program = directory, patience, program
        device, _, server = pair.partition("-")
        self.pair, self.device_kind, self.server_kind = pair, device, server
        RustDevice.program = RustServer.program = program
        self.device = DEVICES[device](directory, patience)
        self.server = SERVERS[server](directory, patience)
        if broken:
            self.device.broken = self.server.broken = broken
        self.relay = Relay(seed)
        self.device_id = b"\x02" + secrets.token_bytes(7)
        self.device_key = self.rotation_key = b""
        self.auditor = Auditor(self.device_id, b"", b"")
        self.audited = {UP, DOWN}
        self.commands: list[str] = []
        self.idempotent: set[str] = set()
        self._names = itertools.count()
        self._closers: list[Callable[[], None]] = []

    @property
    def id(self) -> str:
        return self.device_id.hex()

    # --- up and down -------------------------------------------------------------------------

    async def up(self, faults: Faults = NONE, device: bool = True) -> None:
        await self._provision()
        await self.relay.open()
        self._closers.append(self.relay.close)
        self.relay.server = await self.server.start()
        self.device.server = self.relay.address
        self.relay.faults = faults
        if device:
            await self.device.start()

    async def _provision(self) -> None:
        """`moteseal provision` is the factory; the Python device gets the same keys in a file of its own form."""
        ids, fleet = self.directory / "ids.csv", self.directory / "fleet"
        ids.write_text(self.id + "\n")
        await self.run("provision", "--ids", ids, "--out", fleet)
        self.server.registry = fleet / "registry.csv"
        self.device_key = bytes.fromhex(_field(fleet / "registry.csv", "device_key"))
        self.rotation_key = bytes.fromhex(_field(fleet / "rotation-keys.csv", "rotation_key"))
        told = {"suite": 1, "device_id": self.id, "generation": 1, "device_key": self.device_key.hex()}
        write_secret(self.directory / "keys.json", json.dumps({**told, "rotation_key": self.rotation_key.hex()}))
        self.auditor = Auditor(self.device_id, self.device_key, self.rotation_key)

    async def run(self, *argv: str | Path) -> None:
        """A command of the program that ends by itself."""
        devnull = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(
            str(self.program), *map(str, argv), stdout=devnull, stderr=devnull
        )
        if await process.wait() != 0:
            raise Failed(f"moteseal {argv[0]} ended with {process.returncode}")

    async def stop(self) -> None:
        for side in (self.device, self.server):
            with suppress(Exception):
                await side.kill()
        for close in self._closers:
            close()

    def at_end(self, close: Callable[[], None]) -> None:
        self._closers.append(close)

    # --- what people do ----------------------------------------------------------------------

    def say(self, what: str = "reading", plain: bool = False) -> str:
        """A payload of a name of its own, as it will arrive."""
        payload = f"{what} {next(self._names)}"
        self.device.say(f"plain:{payload}" if plain else payload)
        return payload.encode().hex()

    async def said(self, what: str = "reading") -> str:
        """A payload that arrives and is acknowledged; said anew while its word is *unknown*, as applications do."""
        end = time.monotonic() + self.patience
        while time.monotonic() < end:
            payload = self.say(what)
            if await self.word(payload) == "acknowledged":
                return payload
        raise Failed(f"{what}: never acknowledged")

    async def word(self, payload: str) -> str:
        return await self.wait(lambda: self.device.outcomes().get(payload), f"no word for {bytes.fromhex(payload)!r}")

    def command(self, *options: str, size: int = 0) -> str:
        """A command of a name of its own, in so many bytes at least; its payload as hexadecimal digits."""
        payload = f"command {next(self._names)}".ljust(size, ".").encode().hex()
        self.commands.append(payload)
        if "--idempotent" in options:
            self.idempotent.add(payload)
        self.server.line(" ".join(["send", self.id, payload, *options]))
        return payload

    async def wait(self, what: Callable[[], Any], failing: str, patience: float | None = None) -> Any:
        end = time.monotonic() + (patience or self.patience)
        while not (value := what()):
            if time.monotonic() > end:
                raise Failed(f"{failing}; device: {self.device.events[-3:]}; server: {self.server.events[-3:]}")
            await asyncio.sleep(0.01)
        return value

    def command_words(self) -> dict[str, str]:
        """The last word for each command, by its payload: commands are numbered in the order of the queue."""
        numbers = [event["command"] for event in self.server.told("queued")]
        words = {e["command"]: e["event"] for e in self.server.events if e["event"] in ("acknowledged", "unknown")}
        return {payload: words[n] for payload, n in zip(self.commands, numbers, strict=False) if n in words}

    def settled_commands(self) -> bool:
        return len(self.command_words()) == len(self.commands)

    # --- what must hold ----------------------------------------------------------------------

    def check_ledger(self) -> None:
        """At most once, and what was acknowledged was delivered: both ways."""
        up = Counter(e["payload"] for e in self.server.events if e["event"] in ("early", "data"))
        down = Counter(e["payload"] for e in self.device.told("command"))
        for name, count in [*up.items(), *down.items()]:
            if count > 1 and name not in self.idempotent:
                raise Failed(f"{bytes.fromhex(name)!r} was delivered {count} times (P2)")
        words = self.device.outcomes()
        for payload, word in words.items():
            if word == "acknowledged" and payload not in up:
                raise Failed(f"{bytes.fromhex(payload)!r} is acknowledged and was not delivered")
        for payload, word in self.command_words().items():
            if word == "acknowledged" and payload not in down and not self.device.told("command_refused"):
                raise Failed(f"{bytes.fromhex(payload)!r} is acknowledged and was not delivered")
        if not up:
            raise Failed("nothing was delivered at all")

    async def inspect(self) -> None:
        """`moteseal inspect` opens what both sides sent, too."""
        sent = [p.datagram.hex() for p in self.relay.log if not p.delivered]
        await self.run("inspect", "--keys", self.directory / "fleet" / "registry.csv", *sent)

    def check_capture(self) -> None:
        """It must be right; and with one of its datagrams bent it must be found wrong."""
        problems = self._read(self.auditor, self.relay.log)
        if problems:
            raise Failed(f"{len(problems)} datagrams are wrong; the first: {problems[0]}")
        at = self.chance.choice([i for i, p in enumerate(self.relay.log) if self._is_audited(p)])
        bent = list(self.relay.log)
        bent[at] = replace(bent[at], datagram=harmed(self.chance, bent[at].datagram))
        again = Auditor(self.device_id, self.device_key, self.rotation_key)
        if not self._read(again, bent):
            raise Failed(f"a bent datagram was not noticed: {bent[at].datagram.hex()}")

    def _is_audited(self, packet: Packet) -> bool:
        return not packet.delivered and packet.direction in self.audited

    def _read(self, auditor: Auditor, log: list[Packet]) -> list[str]:
        auditor.read(log)
        return [what for side, what in auditor.problems if side in self.audited]

    def rust_made_again(self) -> int:
        sides = [(UP, self.device_kind), (DOWN, self.server_kind)]
        return sum(self.auditor.made_again[way] for way, kind in sides if kind == "rust")


def _field(path: Path, name: str) -> str:
    return next(csv.DictReader(path.read_text().splitlines()))[name]
