"""The four programs of the interoperability runs, each started as its user starts it: two devices, two gateways.

They speak JSON lines with the same names of events; what differs (arguments, the look of their flash) is here.
"""

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
FLASH_PAGE = 4096
FIRST_COUNTER_PAGE = 3  # of the five pages of `moteseal device`: identity, two key slots, two of the boot counter


class Failed(Exception):
    """A check did not hold; the argument says which."""


class Side:
    """A program that tells events, over all its starts."""

    def __init__(self, directory: Path, patience: float) -> None:
        self.directory, self.patience = directory, patience
        self.events: list[dict[str, Any]] = []
        self.broken: str | None = None  # which wrong implementation to be, in the must-fail controls
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    async def _start(self, *argv: str | Path) -> None:
        with open(self.directory / f"{type(self).__name__}.stderr", "ab") as stderr:
            self._process = await asyncio.create_subprocess_exec(
                *map(str, argv), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=stderr
            )
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while line := await self._process.stdout.readline():
            self.events.append({**json.loads(line), "heard": time.monotonic()})

    def _python(self, program: str) -> list[str | Path]:
        """How `device.py` or `server.py` is started, or a broken one in its place."""
        if self.broken:
            return [sys.executable, HERE / "interop_breaks.py", self.broken, program]
        return [sys.executable, HERE / program]

    def line(self, text: str) -> None:
        self._process.stdin.write(text.encode() + b"\n")

    def told(self, event: str, **what: Any) -> list[dict[str, Any]]:
        return [e for e in self.events if e["event"] == event and all(e.get(k) == v for k, v in what.items())]

    async def expect(self, event: str, count: int = 1, **what: Any) -> dict[str, Any]:
        """Waits for this event, all in all `count` times."""
        end = time.monotonic() + self.patience
        while len(found := self.told(event, **what)) < count:
            if time.monotonic() > end:
                raise Failed(
                    f"{type(self).__name__} did not tell {count} x {event} {what or ''}; last: {self.events[-4:]}"
                )
            if self._process and self._process.returncode is not None and self._reading.done():
                raise Failed(f"{type(self).__name__} has ended with {self._process.returncode}; no {event}")
            await asyncio.sleep(0.01)
        return found[count - 1]

    async def kill(self) -> None:
        """SIGKILL: the power is cut. What it had told until then is heard."""
        if self._process and self._process.returncode is None:
            self._process.kill()
        if self._process:
            await self._process.wait()
            await self._reading

    async def finish(self) -> None:
        """The end of its input: it says what it has to say, and stops."""
        self._process.stdin.close()
        try:
            code = await asyncio.wait_for(self._process.wait(), self.patience)
        except TimeoutError:
            raise Failed(f"{type(self).__name__} does not stop") from None
        await self._reading
        if code != 0:
            raise Failed(f"{type(self).__name__} ended with {code}")


class DeviceSide(Side):
    """What every device can be told. A payload has one ticket, counted from 1 in each boot."""

    server: tuple[str, int]
    starts = 0
    options: tuple[str, ...] = ()
    plain: bool  # whether it can send without C

    async def start(self) -> None:
        await self._start(*self._argv(), "--server", f"{self.server[0]}:{self.server[1]}", *self.options)
        self.starts += 1
        await self.expect("started", self.starts)

    def say(self, payload: str) -> None:
        self.line(payload)

    def _argv(self) -> list[str | Path]:
        raise NotImplementedError

    def erase_counter(self) -> None:
        """Blank flash where the boot counter was; the keys stay."""
        raise NotImplementedError

    def outcomes(self) -> dict[str, str]:
        """The word for each payload, by its bytes; over all boots."""
        words: dict[str, str] = {}
        tickets: dict[int, str] = {}
        for event in self.events:
            if event["event"] == "started":
                tickets = {}
            elif event["event"] == "sent":
                tickets[event["ticket"]] = event["payload"]
            elif event["event"] in ("acknowledged", "unknown", "unsent"):
                payload = tickets[event["ticket"]]
                if words.setdefault(payload, event["event"]) != event["event"]:
                    raise Failed(f"two words for {payload}")
        return words


class PythonDevice(DeviceSide):
    plain = True

    def _argv(self) -> list[str | Path]:
        state = self.directory / "device"
        return [*self._python("device.py"), "--keys", self.directory / "keys.json", "--state", state]

    def erase_counter(self) -> None:
        (self.directory / "device" / "counter").unlink()


class RustDevice(DeviceSide):
    plain = False
    program: Path

    def _argv(self) -> list[str | Path]:
        state = self.directory / "device.flash"
        return [
            self.program,
            "device",
            "--image",
            next((self.directory / "fleet" / "images").glob("*.bin")),
            "--state",
            state,
        ]

    def erase_counter(self) -> None:
        state = self.directory / "device.flash"
        flash = bytearray(state.read_bytes())
        start = FIRST_COUNTER_PAGE * FLASH_PAGE
        flash[start:] = b"\xff" * (len(flash) - start)
        state.write_bytes(flash)


class ServerSide(Side):
    port = 0
    starts = 0
    registry: Path  # the devices that it hears of at its start
    options: tuple[str, ...] = ()

    async def start(self) -> tuple[str, int]:
        await self._start(*self._argv(), "--listen", f"127.0.0.1:{self.port}", *self.options)
        self.starts += 1
        told = await self.expect("listening", self.starts)
        self.port = int(told["addr"].rpartition(":")[2])
        return "127.0.0.1", self.port

    def _argv(self) -> list[str | Path]:
        raise NotImplementedError

    async def rotate(self, device: str) -> None:
        self.line(f"rotate {device}")

    async def revoke(self, device: str) -> None:
        self.line(f"revoke {device}")
        await self.expect("revoked")


class PythonServer(ServerSide):
    def _argv(self) -> list[str | Path]:
        files: list[str | Path] = ["--store", self.directory / "server.sqlite", "--registry", self.registry]
        keys: list[str | Path] = ["--rotation-keys", self.directory / "fleet" / "rotation-keys.csv"]
        return [*self._python("server.py"), *files, *keys, "--first-wait", "500"]


class RustServer(ServerSide):
    program: Path

    def _argv(self) -> list[str | Path]:
        files: list[str | Path] = ["--store", self.directory / "gateway", "--registry", self.registry]
        return [self.program, "serve", *files, "--answer-timeout", "500", "--log", "warn"]

    async def rotate(self, device: str) -> None:
        await self._request("rotate", "--rotation-keys", self.directory / "fleet" / "rotation-keys.csv", device)

    async def revoke(self, device: str) -> None:
        await self._request("revoke", device)
        await self.expect("revoked")

    async def _request(self, verb: str, *rest: str | Path) -> None:
        argv = [self.program, verb, "--store", self.directory / "gateway", *rest]
        devnull = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(*map(str, argv), stdout=devnull, stderr=devnull)
        if await process.wait() != 0:
            raise Failed(f"moteseal {verb} ended with {process.returncode}")


def write_secret(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
