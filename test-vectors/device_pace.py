"""When a device sent what: whether C is due, and how old a command is. SPEC 6.3, 6.5, 9.6."""

from device_config import Config
from session import WINDOW

REMEMBERED = 4 * WINDOW


class Pace:
    def __init__(self, config: Config) -> None:
        self._config = config
        self._first_sent: dict[int, int] = {}
        self._plain, self._c_at, self._sent_at = 0, 0, 0

    def c_is_due(self, now: int) -> bool:
        """After a silence, or after so many Data or minutes without C (M-37, M-42)."""
        silent = now - self._sent_at >= self._config.silence_ms
        return silent or self._plain >= self._config.plain_at_most or now - self._c_at >= self._config.silence_ms

    def age(self, now: int, named: list[int]) -> int | None:
        """Of a command: since the latest number that its block names was first sent; None if not known (M-111)."""
        at = self._first_sent.get(named[-1]) if named else None
        return None if at is None else now - at

    def sent(self, now: int, number: int, c: bool | None) -> None:
        """A Data with a number of its own; `c` is None for a pure acknowledgement."""
        self._first_sent[number] = now
        self._first_sent.pop(number - REMEMBERED, None)
        if c:
            self._plain, self._c_at = 0, now
        elif c is False:
            self._plain += 1

    def transmitted(self, now: int) -> None:
        self._sent_at = now

    def new_session(self) -> None:
        self._first_sent.clear()
        self._plain = 0
