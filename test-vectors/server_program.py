"""`python3 server.py`: a small gateway. Requests are lines of stdin, events go to stdout as JSON lines."""

import argparse
import asyncio
import csv
from pathlib import Path
from typing import Any

import durable
from endpoint import Endpoint, address, lines_of_stdin, print_event
from records import Store
from server import Server

HELP = """\
Requests: `send ID HEX [--idempotent] [--expires S]`, `revoke ID`, `quarantine ID`, `readmit ID`, `rotate ID`.
Events are named as those of `moteseal serve`.
"""
STATUS = {"revoke": "revoked", "quarantine": "quarantined", "readmit": "active"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, epilog=HELP)
    parser.add_argument("--listen", type=address, default=("127.0.0.1", 4242), metavar="HOST:PORT")
    parser.add_argument("--store", type=Path, required=True, help="a SQLite file, made if it is not there; secret")
    parser.add_argument("--registry", type=Path, help="device_id,generation,device_key; mode 0600")
    parser.add_argument("--rotation-keys", type=Path, help="device_id,rotation_key; mode 0600")
    parser.add_argument("--cid-length", type=int, default=1, help="the shortest connection ids, in bytes")
    parser.add_argument("--first-wait", type=int, default=2000, metavar="MS", help="before the first repeat")
    asyncio.run(_run(parser.parse_args()))


async def _run(args: argparse.Namespace) -> None:
    server = Server(Store(args.store), args.cid_length, args.first_wait)
    for row in _rows(args.registry):
        device, key = bytes.fromhex(row["device_id"]), bytes.fromhex(row["device_key"])
        server.add(device, int(row["generation"]), key)
    keys = {row["device_id"]: bytes.fromhex(row["rotation_key"]) for row in _rows(args.rotation_keys)}
    endpoint = await Endpoint(server, print_event).open(args.listen)
    host, port = endpoint.address
    print_event({"event": "listening", "addr": f"{host}:{port}", "devices": len(server.records)})
    endpoint.flush()
    reader = await lines_of_stdin()
    while raw := await reader.readline():
        await asyncio.sleep(0)  # lines that wait must not keep datagrams waiting
        line = raw.decode().split()
        if not line:
            continue
        try:
            endpoint.do(lambda now: _obey(server, keys, now, *line))
        except (KeyError, ValueError, TypeError) as error:
            print_event({"event": "refused", "reason": f"{line[0]}: {error!r}"})
    endpoint.close()
    print_event({"event": "stopped"})


def _rows(path: Path | None) -> list[dict[str, str]]:
    return list(csv.DictReader(durable.read_secret(path).decode().splitlines())) if path else []


def _obey(server: Server, keys: dict[str, bytes], now: int, verb: str, device: str, *rest: str) -> Any:
    device_id = bytes.fromhex(device)
    if verb == "send":
        expires = float(rest[rest.index("--expires") + 1]) if "--expires" in rest else None
        server.command(now, device_id, bytes.fromhex(rest[0]), "--idempotent" in rest, expires)
    elif verb == "rotate":
        server.rotate(now, device_id, keys[device])
    else:
        server.set_status(device_id, STATUS[verb])


if __name__ == "__main__":
    main()
