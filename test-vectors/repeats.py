"""When what was not answered is sent again: 2 s times 1 to 1.5, doubling. SPEC 6.2 and 9.2."""

import random
from dataclasses import dataclass, field


@dataclass
class Repeats:
    """The timer of one datagram; `limit` repeats, or none for a Hello, whose waits end at `cap` ms."""

    first_ms: int
    limit: int | None = None
    cap: int = 600_000
    due: int | None = field(init=False, default=None)
    _count: int = field(init=False, default=0)
    _wait: float = field(init=False, default=0.0)

    def start(self, now: int) -> "Repeats":
        self._wait = self.first_ms * random.uniform(1, 1.5)
        self.due = now + int(self._wait)
        return self

    def expired(self, now: int) -> bool:
        """Whether a wait has ended."""
        return self.due is not None and now >= self.due

    def again(self, now: int) -> bool:
        """A wait has ended: whether to send once more. If not, the repeats have run out."""
        if self.limit is not None and self._count >= self.limit:
            self.due = None
            return False
        self._count += 1
        self._wait = min(self._wait * 2, self.cap)
        self.due = now + int(self._wait)
        return True
