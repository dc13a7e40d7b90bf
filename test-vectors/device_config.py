"""What an application may choose of a device. SPEC section 11."""

from dataclasses import dataclass


@dataclass
class Config:
    first_wait_ms: int = 2000
    hello_cap_ms: int = 600_000
    repeats: int = 4
    silence_ms: int = 600_000  # after which the first Data carries C (M-37), and without C at the longest (M-42)
    plain_at_most: int = 64  # Data without C in a row (M-42)
    in_flight: int = 1  # payloads that wait for their acknowledgement at one time
    max_age_ms: int | None = None  # of a command (M-112)
    rng: bool = True
