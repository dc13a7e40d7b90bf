"""A server that knows the keys and misuses them, or goes to the edges: what the Rust device makes of it."""

import asyncio
from functools import partial

import codec
import keys
from interop_held import HeldServer
from interop_relay import DOWN, UP
from interop_scenarios import scenario, speak_until_settled
from interop_sides import Failed
from interop_world import World
from keys import rotate
from session import RENEWAL


async def with_held_server(w: World, honest: bool = False) -> HeldServer:
    server = w.server = HeldServer(w.directory, w.patience)
    if not honest:
        w.audited = {UP}
    await w.up()
    return server


def more_hellos_than(w: World, count: int) -> bool:
    return len(hellos(w)) > count


def hellos(w: World) -> list[bytes]:
    return [d for d in w.relay.datagrams(UP) if d[0] & 0x30 == 0]


@scenario("rust-python", "python-python")
async def device_renews_at_ff00(w: World) -> None:
    """A number that the device verified reaches FF00: it renews by itself, and the old session goes on (M-49)."""
    server = await with_held_server(w, honest=True)
    await w.said()
    w.relay.filter = lambda _direction, datagram: [] if datagram[0] in (0x50, 0x58) else None  # no Welcome
    server.serving.session.out.next_number = RENEWAL - 1
    number = server.seal(b"below", c=True)
    await w.wait(
        lambda: number in server.serving.session.out.acknowledged, "the command below FF00 is not acknowledged"
    )
    if len(hellos(w)) != 1:
        raise Failed("a Hello before FF00")
    server.seal(b"at ff00", c=True)
    await w.wait(lambda: len(hellos(w)) > 1, "no Hello at FF00")
    server.serving.session.out.next_number = codec.MAX_NUMBER
    last = server.seal(b"the last number", c=True)
    await w.wait(lambda: last in server.serving.session.out.acknowledged, "the last number is not acknowledged")
    w.relay.filter = None
    await w.device.expect("session", 2)
    await w.said()


@scenario("rust-python", "python-python")
async def nonsense_from_the_server(w: World) -> None:
    """Malformed inside: seen, of no effect, never acknowledged (M-113, M-115). An unknown kind is acknowledged."""
    server = await with_held_server(w)
    await w.said()
    taken = [server.seal(bytes([0x7F]) + b"?", c=True, k=True)]
    good, other = (
        rotate(w.rotation_key, w.device_id, 1, bytes(range(16))),
        rotate(bytes(32), w.device_id, 1, bytes(range(16))),
    )
    too_far = rotate(w.rotation_key, w.device_id, 2, bytes(range(16)))
    refused = [
        server.seal(b"", c=True, block=b"\x00\x00"),
        server.seal(b"", c=True, block=codec.ack_encode(999)),
        server.seal(b"ack below zero", c=True, block=b"\x00\x00\x01"),
        server.seal(b"", c=True, k=True),
        server.seal(b"\x02", c=True, k=True),
        server.seal(b"\x03" + bytes(4), c=True, k=True),
        server.seal(b"\x01\x02" + good.r[:-1], c=True, k=True),
        server.seal(b"\x01\x02" + other.r, c=True, k=True),
    ]
    taken.append(server.seal(b"\x01\x03" + too_far.r, c=True, k=True))
    taken.append(server.seal(b"\x01\x01" + good.r, c=True, k=True))
    taken.append(server.seal(b"a command", c=True))
    out = server.serving.session.out
    await w.wait(lambda: set(taken) <= out.acknowledged, f"not acknowledged: {set(taken) - out.acknowledged}")
    await w.said()
    await w.said()
    if wrong := out.acknowledged & set(refused):
        raise Failed(f"malformed and acknowledged: {sorted(n - refused[0] for n in wrong)} of the cases (M-16)")
    if w.device.told("key_taken") or [e["payload"] for e in w.device.told("command")] != [b"a command".hex()]:
        raise Failed("something malformed had an effect")


@scenario("rust-python", "python-python")
async def welcomes_that_hold_no_cid(w: World) -> None:
    """It is consumed, and a new Hello follows (M-35); a Welcome that comes twice installs nothing (M-34)."""
    server = await with_held_server(w)
    bad = w.chance.sample([b"\x40", b"\x00\x00", b"\xc0\x00\x00", b"\x80\x00\x00\x00"], 2)

    def bend(_direction: str, datagram: bytes) -> list[bytes] | None:
        if datagram[0] not in (0x50, 0x58) or not bad:
            return None
        entry = server.record.candidate
        key, salt = entry.session.send_key, entry.server_salt
        return [codec.welcome(key, entry.salt, salt, bad.pop(0), datagram[0] == 0x58).datagram]

    w.relay.filter = bend
    await w.said("in the first Hello")
    await w.device.expect("session")
    await w.said()
    if len({hello[9:15] for hello in hellos(w)}) < 3 or w.device.told("session")[0]["epoch"] != "1.2":
        raise Failed(f"two Welcomes without a cid, and the Hellos are {[h.hex() for h in hellos(w)]}")
    for _ in range(3):
        w.relay.inject(DOWN, [d for d in w.relay.datagrams(DOWN, delivered=True) if d[0] in (0x50, 0x58)][-1])
    await w.said()
    if len(w.device.told("session")) != 1:
        raise Failed("a Welcome was taken twice")


@scenario("rust-python", "python-python")
async def floors_at_the_end_of_the_counter(w: World) -> None:
    """FEFFFFFF is refused and changes nothing; FEFFFFFE is the last that moves a device (M-39, M-40)."""
    server = await with_held_server(w)
    floors = [0xFFFFFFFF, 0xFEFFFFFF, 0xFEFFFFFE]

    def answer(_direction: str, datagram: bytes) -> list[bytes] | None:
        if datagram[0] not in (0x50, 0x58) or not floors:
            return None
        entry, boot = server.record.candidate, floors.pop(0)
        newest = boot.to_bytes(4, "big") + b"\xff\xff"
        return [codec.floor(w.device_key, w.device_id, entry.epoch, entry.salt, newest).datagram]

    w.relay.filter = answer
    await w.said()
    first = hellos(w)
    if not first[0] == first[1] == first[2] or [e["floor"] for e in w.device.told("moved")] != [f"{0xFEFFFFFE}.65535"]:
        raise Failed(f"refused floors had an effect: {[h[9:15].hex() for h in first]}")
    if w.device.told("session")[0]["epoch"] != f"{0xFEFFFFFF}.0" or not w.server.told("jump"):
        raise Failed("the last boot count is not used, or the server did not report it (M-85)")


@scenario("rust-python", "python-python")
async def resets_out_of_place(w: World) -> None:
    """For a number that is acknowledged, was never sent, or with a forged tag: ignored. For one on its way: obeyed."""
    server = await with_held_server(w)
    await w.said()
    await w.said()
    session = server.serving.session
    acknowledged = session.into.highest
    for number in (acknowledged, acknowledged + 5, 0xFFFF):
        for seq_len in (1, 2):
            server.send(codec.reset(session.send_key, session.cid, number, seq_len).datagram)
    server.send(codec.reset(session.receive_key, session.cid, acknowledged, 2).datagram)
    await w.said("after resets that must be ignored")
    if w.device.told("reset"):
        raise Failed("a Reset out of place was obeyed (M-46)")
    w.relay.filter = lambda direction, datagram: [] if direction == UP and datagram[0] & 0x30 == 0x20 else None
    w.say("on its way")
    await asyncio.sleep(0.2)
    server.send(codec.reset(session.send_key, session.cid, session.into.highest + 1, 2).datagram)
    await w.device.expect("reset")
    w.relay.filter = None
    await w.said("in a new session")


@scenario("rust-python", "python-python")
async def every_length_of_cid(w: World) -> None:
    """Connection ids of one to four bytes, at both ends of their range."""
    server = await with_held_server(w, honest=True)
    for length in (1, 2, 3, 4):
        for value in (0, (1 << 8 * length - 2) - 1):
            server.cid_for_next(length, value)
            await w.device.kill()
            await w.device.start()
            await w.said()
            w.command()
            await speak_until_settled(w)
            if server.serving.cid != codec.cid_encode(length, value):
                raise Failed("the session has another cid")


@scenario("rust-python", "python-python")
async def acknowledgements_are_united(w: World) -> None:
    """An old block after a newer one takes nothing back (M-17); a block far behind names the repeat (M-15)."""
    server = await with_held_server(w)
    await w.said()
    numbers = [server.seal(b"command %d" % i, c=True) for i in range(12)]
    out = server.serving.session.out
    await w.wait(lambda: set(numbers) <= out.acknowledged, "not all of twelve at one time are acknowledged")
    # The first one again: the answer must name it, and no other answer can.
    datagram = next(d for d in w.relay.datagrams(DOWN, delivered=True) if d[0] & 0x3C == 0x2C)
    out.acknowledged.discard(numbers[0])
    await asyncio.sleep(1.1)
    w.relay.inject(DOWN, datagram)
    await w.wait(lambda: numbers[0] in out.acknowledged, "a repeat is not acknowledged under its own number")
    await w.said()


@scenario("rust-python", "python-python")
async def a_session_that_only_receives(w: World) -> None:
    """After a Reset, and before the new Welcome, the old session still takes commands, and sends nothing (M-48)."""
    server = await with_held_server(w)
    await w.said()
    await w.said()
    session = server.serving.session
    w.relay.filter = lambda direction, _datagram: [] if direction == UP else None
    w.say("lost")
    await asyncio.sleep(0.2)
    server.send(codec.reset(session.send_key, session.cid, (session.into.highest or 0) + 1, 2).datagram)
    await w.device.expect("reset")
    before = len(w.relay.datagrams(UP))
    number = server.seal(b"to the old session", c=True)
    await w.device.expect("command", seq=number)
    await asyncio.sleep(0.3)
    if any(d[0] & 0x30 for d in w.relay.datagrams(UP)[before:]):
        raise Failed("a session that only receives has sent")
    w.relay.filter = None
    await w.said()


@scenario("rust-python", "python-python")
async def floors_of_this_boot(w: World) -> None:
    """One of an earlier boot, or not above what this boot used: the next count will do. Another moves it (M-40)."""
    server = await with_held_server(w)
    floors = [(0, 5), (1, 1), (1, 9)]

    def answer(_direction: str, datagram: bytes) -> list[bytes] | None:
        if datagram[0] not in (0x50, 0x58) or not floors:
            return None
        entry, (boot, count) = server.record.candidate, floors.pop(0)
        newest = boot.to_bytes(4, "big") + count.to_bytes(2, "big")
        return [codec.floor(w.device_key, w.device_id, entry.epoch, entry.salt, newest).datagram]

    w.relay.filter = answer
    await w.said()
    await w.said()
    epochs = [h[9:15].hex() for h in hellos(w)]
    if epochs != ["000000010000", "000000010001", "000000010002", "000000020000"]:
        raise Failed(f"the epochs after three floors: {epochs}")
    if [e["floor"] for e in w.device.told("stale")] != ["0.5", "1.1"] or len(w.device.told("moved")) != 1:
        raise Failed("a floor below the device moved its counter")
    if [e["from"] for e in server.told("moved")] != [1]:
        raise Failed("moved is not the first word of the session (M-41)")


@scenario("rust-python", "python-python")
async def another_r_for_the_same_generation(w: World) -> None:
    """A second r that proves itself replaces the slot; the same one again starts its Hello again (M-121, M-122)."""
    server = await with_held_server(w)
    await w.said()
    await w.said()
    first, second = (rotate(w.rotation_key, w.device_id, 1, bytes([i]) * 16) for i in (1, 2))

    def opens(hello: bytes, key: bytes) -> bool:
        return codec.parse(hello).open(keys.hello_key(key, w.device_id), hello[9:21]) is not None

    w.relay.filter = lambda direction, datagram: [] if direction == UP and datagram[0] & 0x30 == 0 else None
    for step in (first, first, second):
        before = len(hellos(w))
        number = server.seal(b"\x01\x02" + step.r, c=True, k=True)
        await w.wait(partial(server.is_acknowledged, number), "a rotate is not acknowledged")
        await w.wait(partial(more_hellos_than, w, before), "no Hello after a rotate")
        if not opens(hellos(w)[before], step.device_key):
            raise Failed("the Hello is not under the key of that r")
    server.record.keys[2], server.record.r = second.device_key, second.r
    w.relay.filter = None
    await w.device.expect("rotated")
    await server.expect("rotation_finished")
    await w.said()
