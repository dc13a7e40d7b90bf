"""Fresh random bytes, and the refusal of a source that is plainly broken. SPEC 3.1, M-4."""

import secrets


def fresh(length: int) -> bytes:
    return refuse_broken(secrets.token_bytes(length))


def refuse_broken(drawn: bytes) -> bytes:
    if drawn in (bytes(len(drawn)), b"\xff" * len(drawn)):
        raise OSError("the source of randomness is broken")
    return drawn
