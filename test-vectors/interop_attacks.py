"""What an attacker on the network does, to every pair of a device and a server."""

import asyncio

import codec
from interop_relay import DOWN, UP, harmed
from interop_scenarios import scenario, speak_until_settled
from interop_sides import Failed
from interop_world import World


@scenario()
async def forged_address(w: World) -> None:
    """A Data with the victim's source address comes first: it gets three times those bytes, and no more (M-70)."""
    await w.up()
    await w.said()
    true_path, victim = w.relay.path, await w.relay.move()
    w.relay.path = true_path
    w.relay.deaf = {victim}
    stolen: list[bytes] = []

    def steal(direction: str, datagram: bytes) -> list[bytes] | None:
        if direction == UP:
            stolen.append(datagram)
            return []
        return [] if stolen else None

    w.relay.filter = steal
    payload = w.say("stolen")
    await w.wait(lambda: stolen, "the device says nothing")
    w.relay.inject(UP, stolen[0], victim)
    await w.server.expect("data", payload=payload)
    for _ in range(4):
        w.command(size=120)
    await asyncio.sleep(3)
    got = sum(len(p.datagram) for p in w.relay.log if p.direction == DOWN and not p.delivered and p.path == victim)
    if not 0 < got <= 3 * len(stolen[0]):
        raise Failed(f"{len(stolen[0])} bytes in the victim's name brought it {got}")
    w.relay.filter = None
    # Repeats do not move the address back (M-72): until the device has something new it is not heard. A boot is.
    await w.device.kill()
    await w.device.start()
    await w.said("the device again")
    await speak_until_settled(w)


@scenario()
async def hostile_bytes(w: World) -> None:
    """Cut, lengthened, bent and random datagrams, thousands of them: no answer, no effect, and life goes on."""
    await w.up()
    await w.said()
    w.command()
    await speak_until_settled(w)
    true_path, attacker = w.relay.path, await w.relay.move()
    w.relay.path = true_path
    for direction in (UP, DOWN):
        known = w.relay.datagrams(UP) + w.relay.datagrams(DOWN)
        for i in range(1500):
            if i % 3:
                forged = harmed(w.chance, w.chance.choice(known))
            else:
                forged = bytes([w.chance.randrange(0x40, 0x80)]) + w.chance.randbytes(w.chance.randrange(64))
            w.relay.inject(direction, forged, attacker)
            if i % 50 == 0:
                await asyncio.sleep(0.01)
        w.relay.inject(direction, b"", attacker)
    await asyncio.sleep(0.5)
    if any(p.path == attacker and p.direction == DOWN and not p.delivered for p in w.relay.log):
        raise Failed("a forged datagram was answered (P6)")
    await w.said()
    w.command()
    await speak_until_settled(w)
    if w.device.told("reset") or len(w.device.told("session")) != 1 or len(w.server.told("session")) != 1:
        raise Failed("a forged datagram has moved a session (M-24)")


@scenario()
async def replayed_exchange(w: World) -> None:
    """All that was ever sent is sent again, both ways, in the session, after it and after a restart."""
    await w.up()
    for _ in range(2):
        await w.said()
        w.command()
        await speak_until_settled(w)
        await w.device.kill()
        await w.device.start()
    for restart in (False, True):
        if restart:
            await w.server.kill()
            await w.server.start()
        for direction in (UP, DOWN):
            for datagram in list(w.relay.datagrams(direction)):
                w.relay.inject(direction, datagram)
        await asyncio.sleep(0.3)
        w.check_ledger()
        await w.said()


@scenario()
async def late_commands(w: World) -> None:
    """A device with an age bound refuses a command that was held back (9.6); a fresh one it takes."""
    w.device.options = ("--max-age", "1")
    await w.up()
    await w.said()
    w.relay.filter = lambda direction, datagram: [] if direction == DOWN and len(datagram) > 27 else None
    w.command()
    await w.server.expect("sent")
    await asyncio.sleep(1.8)
    w.relay.filter = None
    await w.device.expect("command_refused")
    await w.server.expect("acknowledged")
    if w.device.told("command"):
        raise Failed("a late command was delivered")
    for _ in range(5):  # on a busy machine a second passes by itself
        await w.said()
        fresh = w.command()
        await w.wait(w.settled_commands, "a command has no word")
        if w.device.told("command", payload=fresh):
            return
    raise Failed("no fresh command was delivered")


@scenario("python-rust", "python-python")
async def silence_in_the_middle(w: World) -> None:
    """Every datagram of the device is lost for 150 numbers: it sends two bytes of seq, and is heard again (M-14)."""
    await w.up()
    await w.said()
    for _ in range(200):  # so that a number 256 below the right one is not below 0
        w.say(plain=True)
    await w.said()
    w.relay.filter = lambda direction, _datagram: [] if direction == UP else None
    for _ in range(150):
        w.say(plain=True)
    await w.wait(lambda: len(w.device.told("sent")) == 352, "the device does not send")
    w.relay.filter = lambda _direction, datagram: [] if datagram[0] & codec.BIT_C else None
    plain = w.say(plain=True)
    await w.server.expect("data", payload=plain)
    w.relay.filter = None
    await w.said()


@scenario()
async def two_addresses(w: World) -> None:
    """The device moves: answers and commands follow it."""
    await w.up()
    await w.said()
    for _ in range(2):
        path = await w.relay.move()
        await w.said("moved")
        w.command()
        await speak_until_settled(w)
        back = [p.path for p in w.relay.log if p.direction == DOWN and not p.delivered][-1]
        if back != path:
            raise Failed(f"the answer went to address {back}, and the device is at {path}")


@scenario()
async def forged_address_of_a_hello(w: World) -> None:
    """The Hello comes from the victim's address too: the Welcome proves neither, and the bound holds (M-71)."""
    await w.up(device=False)
    true_path, victim = w.relay.path, await w.relay.move()
    w.relay.path = true_path
    w.relay.deaf = {victim}
    stolen: list[bytes] = []

    def steal(direction: str, datagram: bytes) -> list[bytes] | None:
        if direction == UP and datagram[0] & 0x30 == 0:
            w.relay.inject(UP, datagram, victim)
        elif direction == UP:
            stolen.append(datagram)
            return []
        return None

    w.relay.filter = steal
    await w.device.start()
    w.say("in the Hello")
    await w.wait(lambda: stolen, "the device opens no session")
    w.relay.inject(UP, stolen[0], victim)
    await w.server.expect("session")
    for _ in range(4):
        w.command(size=120)
    await asyncio.sleep(3)
    to_victim = [p for p in w.relay.log if p.direction == DOWN and not p.delivered and p.path == victim]
    data = sum(len(p.datagram) for p in to_victim if p.datagram[0] & 0x30 == 0x20)
    if len(to_victim) < 2 or not 0 < data <= 3 * len(stolen[0]):
        raise Failed(f"{len(stolen[0])} bytes of Data in the victim's name brought it {data}")
    w.relay.filter = None
    await w.device.kill()
    await w.device.start()
    await w.said("the device again")
    await speak_until_settled(w)
