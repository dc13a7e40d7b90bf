"""Files that hold what must survive a power cut: written whole, on stable storage before the call returns.

Secrets are read only from files that nobody else can read. Nothing here knows the protocol.
"""

import json
import os
from pathlib import Path
from typing import Any


def write(path: Path, content: bytes) -> None:
    """Replaces the file; after a power cut at any moment it holds the old content or the new one."""
    beside = path.with_name(path.name + ".new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
    _sync_directory(path.parent)


def append(path: Path, line: str) -> None:
    """Adds one line; a torn last line is the reader's to recognise."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "ab") as file:
        file.write(line.encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def write_json(path: Path, value: Any) -> None:
    write(path, json.dumps(value).encode())


def read_secret(path: Path) -> bytes:
    """The content of a file of keys, which must be its owner's alone."""
    if path.stat().st_mode & 0o077:
        raise SystemExit(f"{path}: others can read it; chmod 600")
    return path.read_bytes()


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
