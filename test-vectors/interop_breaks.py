"""Wrong implementations, one mistake each: the runs must notice every one, or they prove nothing.

    python3 interop_breaks.py MISTAKE device.py ARGUMENTS

starts a Python program with that mistake in it. Only `interop.py` has a use for that.
"""

# mypy: ignore-errors

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Control:
    """A mistake, a scenario that it spoils, and the words by which the run must say so; none: it must pass."""

    scenario: str
    pair: str
    make: Callable[[], None]
    noticed: str | None

    def missed(self, problem: str | None) -> str | None:
        """What is wrong with this outcome."""
        if self.noticed is None:
            return problem
        if problem is None:
            return "a wrong implementation was not noticed"
        return None if re.search(self.noticed, problem) else f"not noticed as {self.noticed!r}: {problem}"


def _none() -> None:
    pass


def _label() -> None:
    import keys

    right = keys.session_info
    keys.session_info = lambda *fields: right(*fields).replace(b"session", b"Session")


def _aad_of_hello() -> None:
    """The epoch and the salt are authenticated twice, as nonce and as associated data."""
    import codec

    codec.hello = lambda key, device_id, generation, epoch, salt, payload: codec._sealed(
        codec.hello_key(key, device_id),
        epoch + salt,
        header := bytes([0x40 | generation % 4 << 2]) + device_id + epoch + salt,
        payload,
        header,
    )
    codec.Parsed.open = lambda self, key, nonce: codec.open_sealed(key, nonce, self.header, self.sealed)


def _aad_of_data() -> None:
    """The sequence number is left out of the associated data."""
    import codec

    right = codec._sealed

    def sealed(key: bytes, nonce: bytes, aad: bytes, plaintext: bytes, header: bytes) -> codec.Sealed:
        return right(key, nonce, aad[:-1] if nonce[0] == 2 and aad is header else aad, plaintext, header)

    codec._sealed = sealed


def _nonce() -> None:
    import codec

    codec.data_nonce = lambda number: b"\x02" + bytes(9) + number.to_bytes(2, "little")


def _bitmap() -> None:
    """Bit 7 stands for the number before N, and bit 0 for the eighth."""
    import codec

    right = codec.ack_encode
    codec.ack_encode = lambda number, also=frozenset(): (
        (block := right(number, also))[:2] + bytes([int(f"{block[2]:08b}"[::-1], 2)])
    )


def _one_byte() -> None:
    import codec

    codec.one_byte_permitted = lambda _number, _highest_acknowledged: True


def _low_byte() -> None:
    import codec

    codec.reconstruct = lambda low_byte, _highest: low_byte


def _no_window() -> None:
    import session

    session.Incoming.verdict = lambda _self, _number: "fresh"


def _sealed_again() -> None:
    """A repeat under a new number."""
    import device

    def poll(self: device.Device, now: int) -> None:
        for flight in list(self._flights.values()):
            if flight.repeats.expired(now) and flight.repeats.again(now) and flight.payload:
                self._transmit(now, self.session.seal(flight.payload.content, c=True)[1])
        self._go_on(now)

    device.Device.poll = poll


def _counter_in_memory() -> None:
    import device_store

    device_store.DeviceStore.set_boot = lambda self, boot: setattr(self, "boot", boot)


def _records_in_memory() -> None:
    import records

    records.Store.save = lambda _self, _record: None


def _welcome_twice() -> None:
    import device_hello

    right = device_hello.Opener.welcome

    def welcome(self: device_hello.Opener, parsed: object) -> device_hello.Accepted:
        hello = self.hello
        accepted = right(self, parsed)
        self.hello = hello
        self.repeats.due = None
        return accepted

    device_hello.Opener.welcome = welcome


def _not_moved() -> None:
    import device_hello

    device_hello.Opener.moved_from = property(lambda _self: None, lambda _self, _boot: None)


def _no_bound() -> None:
    import server_path

    server_path.Path.take = lambda _self, _length: True


def _free_at_once() -> None:
    """A session's first address is free, wherever its Hello came from."""
    import server_path

    right = server_path.Path.__init__
    server_path.Path.__init__ = lambda self, address, _free, **rest: right(self, address, True, **rest)


_SILENT = r"no word for|did not tell|never acknowledged|are not through"
CONTROLS: dict[str, Control] = {
    "nothing, device": Control("life", "python-rust", _none, None),
    "nothing, server": Control("life", "rust-python", _none, None),
    "label, device": Control("life", "python-rust", _label, _SILENT),
    "label, server": Control("life", "rust-python", _label, _SILENT),
    "aad of Hello, device": Control("life", "python-rust", _aad_of_hello, _SILENT),
    "aad of Hello, server": Control("life", "rust-python", _aad_of_hello, _SILENT),
    "aad of Data, device": Control("life", "python-rust", _aad_of_data, _SILENT),
    "aad of Data, server": Control("life", "rust-python", _aad_of_data, _SILENT),
    "nonce, device": Control("life", "python-rust", _nonce, _SILENT),
    "bitmap, device": Control("life", "python-rust", _bitmap, "device"),
    "bitmap, server": Control("life", "rust-python", _bitmap, "device"),
    "one byte of seq, always": Control("silence_in_the_middle", "python-rust", _one_byte, _SILENT + "|M-14"),
    "low byte as the number": Control("long", "python-rust", _low_byte, _SILENT),
    "no replay window": Control("replayed_exchange", "rust-python", _no_window, "P2"),
    "sealed again": Control("lost_acknowledgements", "python-rust", _sealed_again, "P2"),
    "boot counter in memory": Control("power_cuts", "python-rust", _counter_in_memory, "boot 2 is told as"),
    "records in memory": Control("replayed_exchange", "rust-python", _records_in_memory, "P2"),
    "a Welcome twice": Control("replayed_exchange", "python-rust", _welcome_twice, "two words|sealed after|P3"),
    "no word of a move": Control("lost_counter", "python-rust", _not_moved, "did not tell 1 x moved"),
    "every first address is free": Control(
        "forged_address_of_a_hello", "rust-python", _free_at_once, "in the victim's name"
    ),
    "no bound for an address": Control("forged_address", "rust-python", _no_bound, "in the victim's name"),
}


def main() -> None:
    CONTROLS[sys.argv[1]].make()  # before the program imports what is patched
    sys.argv = sys.argv[2:]
    if sys.argv[0] == "device.py":
        from device_program import main as program
    else:
        from server_program import main as program
    program()


if __name__ == "__main__":
    main()
