"""`python3 device.py`: a device on this host. Lines of stdin are payloads, events go to stdout as JSON lines."""

import argparse
import asyncio
from pathlib import Path

import device_store
from device import Device
from device_config import Config
from endpoint import Endpoint, address, lines_of_stdin, print_event

HELP = """\
Each line of stdin is a payload, as text or as hexadecimal digits after `hex:`; after `plain:` it is sent without a
request for acknowledgement. The first travels in a Hello. At the end of the input the last word is awaited and the
session closed. To cut the power, use SIGKILL. Events are named as those of `moteseal device`.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, epilog=HELP)
    parser.add_argument(
        "--keys",
        type=Path,
        help="JSON of the factory, mode 0600: suite, device_id, generation, "
        "device_key, rotation_key; read when there is no state yet",
    )
    parser.add_argument("--state", type=Path, required=True, help="directory that stands for the flash")
    parser.add_argument("--server", type=address, required=True, metavar="HOST:PORT")
    parser.add_argument("--connect", action="store_true", help="open a session at once")
    parser.add_argument("--max-age", type=float, metavar="S", help="refuse commands that may be older")
    parser.add_argument("--no-rng", action="store_true", help="be a device without a random number generator")
    parser.add_argument("--in-flight", type=int, default=1, help="payloads that wait for a word at one time")
    parser.add_argument("--first-wait", type=int, default=2000, metavar="MS", help="before the first repeat")
    asyncio.run(_run(parser.parse_args()))


async def _run(args: argparse.Namespace) -> None:
    if not (args.state / "keys.json").exists():
        if args.keys is None:
            raise SystemExit(f"{args.state}: no state yet, and no --keys")
        device_store.provision(args.state, args.keys)
    store = device_store.DeviceStore(args.state)
    config = Config(
        first_wait_ms=args.first_wait,
        in_flight=args.in_flight,
        rng=not args.no_rng,
        max_age_ms=None if args.max_age is None else int(args.max_age * 1000),
    )
    device = Device(store, config)
    print_event({"event": "started", "device": store.device_id.hex(), "boot": store.boot})
    endpoint = await Endpoint(device, print_event, args.server).open(("127.0.0.1", 0))
    if args.connect:
        endpoint.do(device.connect)
    await _take_lines(endpoint, device)
    while not device.idle:
        await asyncio.sleep(0.02)
    endpoint.do(device.close)
    await asyncio.sleep(0)
    endpoint.close()
    print_event({"event": "stopped"})


async def _take_lines(endpoint: Endpoint, device: Device) -> None:
    reader = await lines_of_stdin()
    while raw := await reader.readline():
        await asyncio.sleep(0)  # lines that wait must not keep datagrams waiting
        line = raw.decode().strip()
        if not line:
            continue
        confirm = not line.startswith("plain:")
        text = line.removeprefix("plain:")
        content = bytes.fromhex(text[4:]) if text.startswith("hex:") else text.encode()
        ticket = endpoint.do(lambda now: device.send(now, content, confirm))
        print_event({"event": "sent", "ticket": ticket, "payload": content.hex()})


if __name__ == "__main__":
    main()
