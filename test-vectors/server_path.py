"""Where a session's datagrams go, and how many bytes may go there. SPEC 7.5. And the limit on Floors, M-61."""

import zlib
from dataclasses import dataclass
from typing import Any

FACTOR = 3


@dataclass
class Path:
    """The peer's address; until it is free it gets three times what came from it."""

    address: Any
    free: bool
    credit: int = 0
    mark: int = 0  # the first number sealed since the move

    def received(self, source: Any, length: int, highest: bool, next_number: int) -> None:
        """A newly verified Data. Only the highest so far moves the address (M-69)."""
        if highest and source != self.address:
            self.address, self.free, self.credit, self.mark = source, False, 0, next_number
        if source == self.address:
            self.credit += FACTOR * length

    def acknowledged(self, source: Any, number: int) -> None:
        if source == self.address and number >= self.mark:
            self.free = True

    def take(self, length: int) -> bool:
        """Whether so many bytes may be sent; if so, they are."""
        if not self.free:
            if length > self.credit:
                return False
            self.credit -= length
        return True


class FloorLimit:
    """A fixed table of buckets, by source address without its port."""

    BUCKETS, BURST, PER_SECOND = 256, 64, 50

    def __init__(self) -> None:
        self._buckets = [(float(self.BURST), 0)] * self.BUCKETS

    def take(self, now: int, source: Any) -> bool:
        index = zlib.crc32(str(source[0]).encode()) % self.BUCKETS
        tokens, at = self._buckets[index]
        tokens = min(self.BURST, tokens + (now - at) * self.PER_SECOND / 1000)
        granted = tokens >= 1
        self._buckets[index] = (tokens - granted, now)
        return granted
