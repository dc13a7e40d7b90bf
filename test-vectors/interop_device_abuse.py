"""A device that knows its keys and misuses them, or goes to the edges: what the Rust gateway makes of it."""

import asyncio
import csv
from contextlib import suppress
from functools import partial
from typing import Any

import codec
import keys
from device_config import Config
from interop_held import HeldDevice
from interop_relay import DOWN, UP
from interop_scenarios import scenario, speak_until_settled
from interop_sides import Failed, write_secret
from interop_world import World
from keys import epoch_bytes
from session import RENEWAL

PAIRS = ("python-rust", "python-python")


async def with_held_device(w: World, honest: bool = False, **config: Any) -> HeldDevice:
    device = w.device = HeldDevice(w.directory, w.patience)
    device.config = Config(**{"first_wait_ms": 500, **config})
    if not honest:
        w.audited = {DOWN}
    await w.up()
    return device


@scenario(*PAIRS)
async def numbers_to_the_last(w: World) -> None:
    """Renewal at FF00; while no Welcome comes the old session serves up to 65,535, and no number is sent after it."""
    device = await with_held_device(w, honest=True)
    await w.said()
    device.half.session.out.next_number = RENEWAL - 1
    w.relay.filter = lambda direction, datagram: [] if direction == UP and datagram[0] & 0x30 == 0 else None
    for _ in range(4):
        await w.said("around FF00")
    hellos = [d for d in w.relay.datagrams(UP) if d[0] & 0x30 == 0]
    if len(set(hellos)) != 2:
        raise Failed(f"{len(set(hellos))} Hellos, and one opened the session and one renews it")
    device.half.session.out.next_number = codec.MAX_NUMBER - 1
    await w.said("65534")
    await w.said("65535")
    waits = w.say("there is no 65536")
    await asyncio.sleep(0.3)
    if waits in device.outcomes():
        raise Failed("a payload went after the last number")
    w.relay.filter = None
    await w.said("in a new session")
    if await w.word(waits) != "acknowledged":
        raise Failed("what waited did not arrive")


@scenario(*PAIRS)
async def nonsense_from_the_device(w: World) -> None:
    """Authentic and malformed inside: seen, never delivered, never acknowledged; what is unknown is acknowledged."""
    device = await with_held_device(w)
    await w.said()
    w.command()
    await speak_until_settled(w)
    taken = [device.seal(b"\x7f?", c=True, k=True)[0]]
    refused = [
        device.seal(b"", c=True, block=b"\x00")[0],
        device.seal(b"never sent", c=True, block=codec.ack_encode(500))[0],
        device.seal(b"below zero", c=True, block=b"\x00\x00\x01")[0],
        device.seal(b"", c=True, k=True)[0],
        device.seal(b"\x01\x02" + bytes(32), c=True, k=True)[0],
        device.seal(b"\x02", c=True, k=True)[0],
        device.seal(b"\x02\x00", k=True)[0],
        device.seal(b"\x03" + bytes(3), c=True, k=True)[0],
    ]
    taken.append(device.seal(b"after it", c=True)[0])
    out = device.half.session.out
    await w.wait(lambda: set(taken) <= out.acknowledged, f"not acknowledged: {set(taken) - out.acknowledged}")
    await w.said()
    if wrong := out.acknowledged & set(refused):
        raise Failed(f"malformed and acknowledged: {sorted(n - refused[0] for n in wrong)} of the cases (M-16)")
    if w.server.told("closed") or w.server.told("moved"):
        raise Failed("something malformed had an effect")
    await w.wait(lambda: malformed(w) == len(refused), f"not all of {len(refused)} are told as malformed")


def malformed(w: World) -> int:
    """The Rust gateway counts them in its lines of what was rejected."""
    return len(w.server.told("malformed")) + sum(e["count"] for e in w.server.told("rejected", reason="malformed"))


@scenario(*PAIRS)
async def held_back(w: World) -> None:
    """Overtaken by twenty, a Data is acknowledged under its own number (M-15); by seventy, it is given up (M-128)."""
    device = await with_held_device(w, honest=True, in_flight=4, first_wait_ms=20_000)
    await w.said()
    await w.said()
    for others, word in ((20, "acknowledged"), (70, "unknown")):
        held: list[bytes] = []
        w.relay.filter = partial(hold_one, held)
        payload = w.say("held back")
        for _ in range(others):
            await w.said()
        if word == "unknown" and await w.word(payload) != word:
            raise Failed("not given up with 70 acknowledged above it")
        w.relay.inject(UP, held[0])
        if await w.word(payload) != word:
            raise Failed(f"overtaken by {others}: {device.outcomes()[payload]}, and not {word}")
    await w.said()
    if w.server.told("data", payload=payload):
        raise Failed("a number left of the window was delivered (M-67)")


@scenario(*PAIRS)
async def repeats_without_end(w: World) -> None:
    """One captured Data with C, again and again: one answer a second, eight between two new numbers (M-101)."""
    await with_held_device(w)
    await w.said()
    await w.said()
    datagram = w.relay.datagrams(UP)[-1]
    before, loop = len(w.relay.datagrams(DOWN)), asyncio.get_running_loop()
    begun = loop.time()
    for _ in range(50):
        w.relay.inject(UP, datagram)
        await asyncio.sleep(0.05)
    answers, seconds = len(w.relay.datagrams(DOWN)) - before, loop.time() - begun
    if not 1 <= answers <= min(8, seconds + 1):
        raise Failed(f"50 copies in {seconds:.1f} seconds bring {answers} answers")
    await w.said()


@scenario(*PAIRS)
async def hellos_in_every_case(w: World) -> None:
    """Same, confirmed, stale, late, newest, reserved (7.1): what is delivered and what is answered."""
    await with_held_device(w)

    def hello(boot: int, count: int, payload: bytes = b"", salt: bytes = b"saltsa") -> bytes:
        return codec.hello(w.device_key, w.device_id, 1, epoch_bytes(boot, count), salt, payload).datagram

    async def answer(datagram: bytes) -> list[bytes]:
        before = len(w.relay.datagrams(DOWN))
        w.relay.inject(UP, datagram)
        with suppress(Failed):
            await w.wait(lambda: len(w.relay.datagrams(DOWN)) > before, "", 3)
        return w.relay.datagrams(DOWN)[before:]

    async def silence(datagram: bytes, delivers: bytes = b"") -> list[bytes]:
        """The answer to the next Hello is awaited, and it is the only one."""
        stale = hello(0, 1)
        before = len(w.relay.datagrams(DOWN))
        w.relay.inject(UP, datagram)
        if delivers:  # it is durable
            await w.server.expect("early", payload=delivers.hex())
        await answer(stale)
        return w.relay.datagrams(DOWN)[before:-1]

    def delivered(payload: bytes) -> int:
        return len(w.server.told("early", payload=payload.hex()))

    welcome = await answer(hello(7, 5, b"newest"))
    again = await answer(hello(7, 5, b"newest"))
    checks = [
        ("a newest Hello: Welcome with E", [d[0] for d in welcome], [0x58]),
        ("the candidate's again: the same bytes", again, welcome),
        ("another payload under that epoch: Floor", [d[0] for d in await answer(hello(7, 5, b"other"))], [0x54]),
        (
            "another salt under that epoch: Floor",
            [d[0] for d in await answer(hello(7, 5, b"newest", b"tlastl"))],
            [0x54],
        ),
        ("a late one: no answer", await silence(hello(7, 4, b"late"), b"late"), []),
        ("late again: Floor", [d[0] for d in await answer(hello(7, 4, b"late"))], [0x54]),
        ("newest, empty: Welcome without E", [d[0] for d in await answer(hello(7, 40))], [0x50]),
        ("31 below: late", await silence(hello(7, 9, b"31 below"), b"31 below"), []),
        ("32 below: Floor", [d[0] for d in await answer(hello(7, 8, b"32 below"))], [0x54]),
        ("a reserved boot count: silence", await silence(hello(0xFF000000, 0, b"reserved")), []),
        (
            "the same Floor twice: the same bytes",
            await answer(hello(7, 4, b"late")),
            await answer(hello(7, 4, b"late")),
        ),
    ]
    for what, got, wanted in checks:
        if got != wanted:
            raise Failed(f"{what}: {got}")
    counts = [delivered(p) for p in (b"newest", b"other", b"late", b"31 below", b"32 below", b"reserved")]
    if counts != [1, 0, 1, 1, 0, 0]:
        raise Failed(f"delivered: {counts}")
    await w.said("the device itself, by way of a Floor")
    mine = [d for d in w.relay.datagrams(UP) if d[0] & 0x30 == 0][-1]
    if await silence(mine):
        raise Failed("the confirmed session's own Hello was answered")


@scenario(*PAIRS)
async def floors_without_end(w: World) -> None:
    """Three hundred stale Hellos at once from one address: 64 Floors, and 50 a second from then on (M-61)."""
    await with_held_device(w)
    await w.said()
    await w.said()
    stale = codec.hello(w.device_key, w.device_id, 1, epoch_bytes(0, 1), b"stales").datagram
    before = len(w.relay.datagrams(DOWN))
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for i in range(300):
        w.relay.inject(UP, stale)
        if i % 20 == 19:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)
    most = 64 + 50 * (loop.time() - begun) + 2
    floors = len([d for d in w.relay.datagrams(DOWN)[before:] if d[0] == 0x54])
    if not 20 <= floors <= most:
        raise Failed(f"{floors} Floors, at most {most:.0f}")
    await w.said()


@scenario(*PAIRS)
async def closed_session(w: World) -> None:
    """After *close* nothing is delivered under the session, and no command is sent to it (M-124)."""
    device = await with_held_device(w)
    await w.said()
    await w.said()
    w.command()
    await speak_until_settled(w)
    old = device.half.session
    device.do(device.half.close)
    await w.server.expect("closed")
    w.command()
    await asyncio.sleep(0.3)
    before = len(w.relay.datagrams(DOWN))
    late = codec.data(old.send_key, old.cid, old.out.next_number + 3, b"after close", c=True).datagram
    w.relay.inject(UP, late)
    await asyncio.sleep(0.3)
    answers = w.relay.datagrams(DOWN)[before:]
    if any(d[0] & 0x30 != 0x30 for d in answers) or w.server.told("data", payload=b"after close".hex()):
        raise Failed(f"a closed session goes on: {[d.hex() for d in answers]}")
    await w.said("in a new session")
    await speak_until_settled(w)


@scenario("python-rust")
async def many_devices(w: World) -> None:
    """Seventy devices of a derived fleet: one-byte connection ids run out, and two bytes follow (M-12)."""
    fleet = w.directory / "many"
    await w.run("provision", "--count", "70", "--out", fleet)
    await with_held_device(w)
    await w.said()
    await w.server.kill()
    secret = dict(line.split("=") for line in (fleet / "fleet.secret").read_text().split() if "=" in line)
    w.server.registry = fleet / "registry.csv"
    devices = []
    w.relay.server = address = await w.server.start()
    for row in csv.DictReader((fleet / "registry.csv").read_text().splitlines()):
        device_id, rotation_root = bytes.fromhex(row["device_id"]), bytes.fromhex(secret["rotation_root"])
        derived = keys.fleet_device_key(bytes.fromhex(secret["fleet_key"]), 1, device_id)
        if derived.hex() != row["device_key"]:
            raise Failed("a fleet's device key is derived otherwise (3.3)")
        directory = w.directory / row["device_id"]
        directory.mkdir()
        told = {"suite": 1, "device_id": row["device_id"], "generation": 1, "device_key": row["device_key"]}
        rotation_key = keys.fleet_rotation_key(rotation_root, device_id).hex()
        write_secret(directory / "keys.json", str({**told, "rotation_key": rotation_key}).replace("'", '"'))
        device = HeldDevice(directory, w.patience)
        device.server = address
        await device.start()
        w.at_end(device.endpoint.close)
        device.say(f"early of {row['device_id']}")
        device.say(f"plain:plain of {row['device_id']}")
        device.say(f"last of {row['device_id']}")
        devices.append(device)
    for device in devices:
        await w.wait(partial(all_acknowledged, device), "a device is not heard")
    lengths = {len(device.half.session.cid) for device in devices}
    if lengths != {1, 2}:
        raise Failed(f"lengths of connection ids: {lengths}")
    if len({device.half.session.cid for device in devices}) != 70:
        raise Failed("two devices share a connection id (M-11)")


def all_acknowledged(device: HeldDevice) -> bool:
    return set(device.outcomes().values()) == {"acknowledged"} and device.half.idle


def hold_one(held: list[bytes], direction: str, datagram: bytes) -> list[bytes] | None:
    """Takes the first datagram of the device off the air."""
    if direction == DOWN or held:
        return None
    held.append(datagram)
    return []
