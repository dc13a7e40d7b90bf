"""Lost memory and lost trust, of every pair: power cuts, erased flash, killed servers, keys rotated and revoked."""

import asyncio

from interop_relay import DOWN, NONE, ROUGH, UP
from interop_scenarios import scenario, speak_until_settled
from interop_sides import Failed
from interop_world import World


@scenario()
async def power_cuts(w: World) -> None:
    """The counter survives, each boot has epochs of its own, and nothing is delivered twice."""
    await w.up()
    for boot in range(1, 5):
        await w.said()
        for _ in range(4):
            w.say("cut")
        await asyncio.sleep(w.chance.uniform(0, 0.05))
        await w.device.kill()
        await w.device.start()
        if w.device.told("started")[boot]["boot"] != boot + 1:
            raise Failed(f"boot {boot + 1} is told as {w.device.told('started')[boot]}")
    await w.said()
    if w.server.told("floor") or w.device.told("stale") or w.device.told("moved"):
        raise Failed("a counter that was kept led to a Floor")


@scenario()
async def lost_counter(w: World) -> None:
    """Blank flash: a Floor moves the counter, the server hears of it, and the device is back by itself."""
    await w.up()
    for _ in range(3):
        await w.said()
        await w.device.kill()
        await w.device.start()
    await w.said()
    await w.device.kill()
    w.device.erase_counter()
    w.auditor.counter_lost()
    await w.device.start()
    waits = w.say("after a loss")
    await w.device.expect("moved")
    moved = await w.server.expect("moved")
    if moved["from"] != 1:
        raise Failed(f"moved from {moved['from']}, and the blank counter booted at 1")
    # M-32: nothing travels in a Hello of that boot before the Floor came, so nothing was lost to it.
    if await w.word(waits) != "acknowledged":
        raise Failed("a payload was lost in a stale Hello")
    await w.said()


@scenario()
async def server_killed(w: World) -> None:
    """Counters are gone: Reset, a new session, and every payload has its word."""
    await w.up()
    for _ in range(3):
        await w.said("in a Hello, perhaps")
        await w.said("in Data")
        await w.server.kill()
        await w.server.start()
        during = w.say("during")
        await w.device.expect("reset", w.server.starts - 1)
        if await w.word(during) != "unknown":
            raise Failed("a payload of a session without counters has a word other than unknown")
    await w.said()
    if not w.server.told("reset"):
        raise Failed("the server told no reset")


@scenario()
async def server_killed_on_a_rough_network(w: World) -> None:
    await w.up(ROUGH)
    w.command("--idempotent")
    for _ in range(2):
        await w.said()
        await w.server.kill()
        await w.server.start()
    await w.said()
    w.relay.faults = NONE
    await w.said("last")


@scenario()
async def rotation(w: World) -> None:
    """A new key over the air; the old one is erased on both sides, and the new one stays."""
    await w.up()
    for generation in (2, 3):
        await w.said()
        await w.server.rotate(w.id)
        w.say("touch")
        await w.device.expect("key_taken", generation=generation)
        await w.device.expect("rotated", generation - 1)
        await w.said()
        await w.server.expect("rotation_finished", generation=generation)
        await w.device.kill()
        await w.device.start()
        await w.said("with the new key")
        if w.relay.datagrams(UP)[-1][0] & 0x30 == 0:
            raise Failed("no session under the new key")
    await w.server.kill()
    await w.server.start()
    await w.said("after a restart")


@scenario()
async def rotation_with_a_power_cut(w: World) -> None:
    """Two valid slots at boot, and no answer to the first Hellos: each is a new one, the keys in turn (M-119)."""
    await w.up()
    await w.said()
    hellos: list[bytes] = []

    def lose_three(direction: str, datagram: bytes) -> list[bytes] | None:
        if datagram[0] & 0x30 or direction == DOWN:
            return None
        hellos.append(datagram)
        return [] if len(hellos) <= 3 else None

    w.relay.filter = lose_three
    await w.server.rotate(w.id)
    w.say("touch")
    await w.device.expect("key_taken")
    await w.device.kill()
    before = len(hellos)
    await w.device.start()
    await w.said()
    await w.device.expect("rotated")
    await w.server.expect("rotation_finished")
    bits = [hello[0] >> 2 & 3 for hello in hellos[before:]]
    if len(bits) < 3 or any(bit != (2, 1)[i % 2] for i, bit in enumerate(bits)):
        raise Failed(f"the keys of the Hellos after the cut, not in turn: {bits}")
    if len({hello[9:15] for hello in hellos}) != len(hellos):
        raise Failed("two Hellos of one epoch (M-119)")


@scenario()
async def revocation(w: World) -> None:
    """Silent from the next datagram on: in the session, to a new Hello, and to a device that boots again."""
    await w.up()
    await w.said()
    w.command()
    await speak_until_settled(w)
    await w.server.revoke(w.id)
    answered, delivered = len(w.relay.datagrams(DOWN)), len(w.server.told("data"))
    w.say("after")
    await asyncio.sleep(0.5)
    await w.device.kill()
    await w.device.start()
    w.say("in a Hello")
    await asyncio.sleep(1)
    for datagram in list(w.relay.datagrams(UP)):
        w.relay.inject(UP, datagram)
    await asyncio.sleep(0.5)
    if len(w.relay.datagrams(DOWN)) > answered or len(w.server.told("data")) > delivered:
        raise Failed("a revoked device is heard or answered (P7)")
    if not any(d[0] & 0x30 == 0 for d in w.relay.datagrams(UP)[-2:]):
        raise Failed("the device did not even try")


@scenario("python-rust", "python-python")
async def reset_of_one_byte(w: World) -> None:
    """One byte of seq comes to a restarted server, and comes back in a Reset that the device takes (M-47, M-75)."""
    await w.up()
    await w.said()
    await w.said()
    await w.server.kill()
    await w.server.start()
    w.say(plain=True)
    await w.device.expect("reset")
    if not any(d[0] == 0x70 for d in w.relay.datagrams(DOWN)):
        raise Failed("no Reset of one byte")
    await w.said()


@scenario("python-rust")
async def backup_restored(w: World) -> None:
    """A restored backup: what was recorded since is not fresh again, and a Floor brings the device past it (7.7)."""
    await w.up()
    await w.said()
    await w.run("backup", "--store", w.directory / "gateway", "--to", w.directory / "backup")
    for _ in range(2):
        await w.device.kill()
        await w.device.start()
        await w.said()
    await w.server.kill()
    await w.run("restore", "--store", w.directory / "gateway", "--from", w.directory / "backup")
    await w.server.start()
    for datagram in w.relay.datagrams(UP):
        w.relay.inject(UP, datagram)
    await asyncio.sleep(0.5)
    w.check_ledger()
    await w.device.kill()
    await w.device.start()
    await w.said()
    await w.device.expect("moved")
    if not (await w.server.expect("moved"))["excused"]:
        raise Failed("a move that a restore caused counts as a clone (M-86)")


@scenario()
async def quarantine(w: World) -> None:
    """Silent while it lasts; then the device is back by itself."""
    await w.up()
    await w.said()
    w.server.line(f"quarantine {w.id}")
    await w.server.expect("quarantined")
    answered = len(w.relay.datagrams(DOWN))
    waits = w.say("in quarantine")
    await asyncio.sleep(1)
    if len(w.relay.datagrams(DOWN)) > answered or w.server.told("data", payload=waits):
        raise Failed("a device in quarantine is heard or answered")
    await w.device.kill()
    w.server.line(f"readmit {w.id}")
    await w.server.expect("readmitted")
    await w.device.start()
    await w.said("readmitted")


@scenario()
async def expired_command(w: World) -> None:
    """A command whose time passes while the device sleeps is not sent; the one after it is (M-108)."""
    await w.up(device=False)
    w.command("--expires", "1")
    kept = w.command("--expires", "600")
    await asyncio.sleep(1.5)
    await w.device.start()
    await w.said()
    await w.said()
    await w.server.expect("expired")
    await w.device.expect("command", payload=kept)
    await w.server.expect("acknowledged")
    if len(w.device.told("command")) != 1:
        raise Failed("an expired command went out")
