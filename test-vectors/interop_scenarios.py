"""What every pair of a device and a server goes through, whoever wrote them: programs against programs."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import codec
from interop_relay import DOWN, NONE, ROUGH, UP
from interop_sides import Failed
from interop_world import World

Scenario = Callable[[World], Awaitable[None]]
ALL_PAIRS = ("python-rust", "rust-python", "python-python")
SCENARIOS: dict[str, tuple[Scenario, tuple[str, ...]]] = {}
DEEP: set[str] = set()  # those that take minutes


def scenario(*pairs: str, deep: bool = False) -> Callable[[Scenario], Scenario]:
    def add(run: Scenario) -> Scenario:
        SCENARIOS[run.__name__] = (run, pairs or ALL_PAIRS)
        if deep:
            DEEP.add(run.__name__)
        return run

    return add


async def speak_until_settled(w: World) -> None:
    """Commands reach a device that speaks: it goes on until each has its word."""
    while not w.settled_commands():
        w.say("here")
        await asyncio.sleep(0.5)


@scenario()
async def life(w: World) -> None:
    """Early data, telemetry with and without C, commands and acknowledgements; then the device closes."""
    await w.up()
    first = w.say("early")
    await w.server.expect("early", payload=first)
    for _ in range(5):
        w.say()
        if w.device.plain:
            w.say(plain=True)
    last = await w.said()
    for _ in range(3):
        w.command()
    await speak_until_settled(w)
    await w.device.finish()
    await w.server.expect("closed")
    if set(w.device.outcomes().values()) | set(w.command_words().values()) != {"acknowledged"}:
        raise Failed(f"on a clean network: {w.device.outcomes()}, {w.command_words()}")
    if not w.server.told("data", payload=last):
        raise Failed("the last payload was not delivered as Data")
    await w.inspect()


@scenario()
async def life_on_a_rough_network(w: World) -> None:
    """The same while datagrams are lost, doubled, overtaken, harmed and replayed."""
    await w.up(ROUGH)
    w.say("early")
    for _ in range(6):
        w.say()
        if w.device.plain:
            w.say(plain=True)
    for _ in range(3):
        w.command()
    await w.said()
    await speak_until_settled(w)
    w.relay.faults = NONE
    await w.said("last")


@scenario()
async def long(w: World) -> None:
    """More numbers than one byte holds, with C, in order."""
    await w.up()
    payloads = [w.say() for _ in range(300)]
    await w.wait(lambda: payloads[-1] in w.device.outcomes(), "300 payloads are not through")
    w.command()
    await speak_until_settled(w)
    if set(w.device.outcomes().values()) != {"acknowledged"}:
        raise Failed(f"on a clean network: {w.device.outcomes()}")


@scenario()
async def lost_acknowledgements(w: World) -> None:
    """Each payload arrives and its first acknowledgement does not: the repeat is acknowledged, and not delivered."""
    await w.up()
    await w.said()
    await w.said()
    lost: list[bytes] = []

    def lose_one(direction: str, datagram: bytes) -> list[bytes] | None:
        if direction == DOWN and datagram[0] & 0x30 == 0x20 and not lost:
            lost.append(datagram)
            return []
        return None

    w.relay.filter = lose_one
    await w.said("twice on the air")
    if not lost or len(w.device.told("session")) != 1:
        raise Failed("no acknowledgement was lost, or the session did not survive it")
    await w.said()


@scenario()
async def without_a_generator(w: World) -> None:
    """A device without an RNG: its salts follow from the epochs (5.1)."""
    w.device.options = ("--no-rng",)
    await w.up()
    for _ in range(3):
        await w.said()
        await w.device.kill()
        await w.device.start()
    await w.said()


@scenario("rust-python", "python-python", deep=True)
async def repeats_run_out(w: World) -> None:
    """No Data of the device arrives: the same bytes five times, further and further apart, then a Hello (M-43)."""
    await w.up()
    await w.said()
    await w.said()
    lost: list[tuple[float, bytes]] = []

    def lose_data(direction: str, datagram: bytes) -> list[bytes] | None:
        if direction == UP and datagram[0] & codec.BIT_C and datagram[0] & 0x30 == 0x20:
            lost.append((asyncio.get_running_loop().time(), datagram))
            return []
        return None

    w.relay.filter = lose_data
    payload = w.say("lost five times")
    hellos = len([d for d in w.relay.datagrams(UP) if d[0] & 0x30 == 0])
    await w.wait(lambda: len([d for d in w.relay.datagrams(UP) if d[0] & 0x30 == 0]) > hellos, "no Hello", 110)
    times = [at for at, _ in lost[:5]] + [asyncio.get_running_loop().time()]
    waits = [later - earlier for earlier, later in zip(times, times[1:])]
    if len({d for _, d in lost[:5]}) != 1 or not all(2 * 2**i - 0.3 < t < 3.3 * 2**i for i, t in enumerate(waits)):
        raise Failed(f"repeats after {waits} s")
    w.relay.filter = None
    if await w.word(payload) != "unknown":
        raise Failed("the payload has another word than unknown")
    await w.said()


@scenario(deep=True)
async def every_number_of_a_session(w: World) -> None:
    """65,300 payloads in one session: renewal at FF00 without any help. All are acknowledged, but for the one that is
    on its way when the old session ends (M-103)."""
    w.patience = 120
    await w.up()
    tickets = 0
    for _ in range(65):
        for _ in range(1005):
            w.say()
        tickets += 1005
        await w.wait(partial(_acknowledged_just_now, w, tickets), "the device is stuck")
    await w.said()
    sessions, lost = w.device.told("session"), [p for p, word in w.device.outcomes().items() if word != "acknowledged"]
    if len(sessions) != 2 or len(lost) > 1:
        raise Failed(f"sessions: {sessions}; not acknowledged: {lost}")


def _acknowledged_just_now(w: World, ticket: int) -> bool:
    return any(e["event"] == "acknowledged" and e["ticket"] == ticket for e in w.device.events[-20:])
