"""Reads what a linked firmware says of itself: what it takes in flash and RAM, its symbols, who calls whom, and where
it could panic. ELF32, little-endian, Thumb; nothing of a firmware is run."""

import pathlib
import re
import struct
import typing

ALLOC, NOBITS, SYMTAB, FUNC, OBJECT = 2, 8, 2, 2, 1


class Symbol(typing.NamedTuple):
    name: str
    address: int
    size: int
    kind: int


class Elf:
    def __init__(self, path: pathlib.Path):
        self.data = path.read_bytes()
        if self.data[:6] != b"\x7fELF\x01\x01":
            raise ValueError(f"{path} is no little-endian ELF32")
        offset = struct.unpack_from("<I", self.data, 32)[0]
        size, count, names = struct.unpack_from("<HHH", self.data, 46)
        headers = [struct.unpack_from("<10I", self.data, offset + index * size) for index in range(count)]
        self.sections = {self.string(headers[names][4], header[0]): header for header in headers}
        self.symbols = list(self.read_symbols(headers))

    def string(self, table: int, at: int) -> str:
        return self.data[table + at : self.data.index(b"\0", table + at)].decode()

    def read_symbols(self, headers) -> typing.Iterator[Symbol]:
        for header in headers:
            if header[1] != SYMTAB:
                continue
            strings = headers[header[6]][4]
            for at in range(header[4], header[4] + header[5], header[9]):
                name, value, size, info = struct.unpack_from("<IIIB", self.data, at)
                if info & 15 in (FUNC, OBJECT):
                    yield Symbol(demangled(self.string(strings, name)), value & ~1, size, info & 15)

    def flash(self) -> int:
        """Bytes of all that is loaded: code, constants, and the first values of variables."""
        return sum(h[5] for h in self.sections.values() if h[2] & ALLOC and h[1] != NOBITS)

    def compiler(self) -> str:
        """The version of rustc that made it, such as 1.95.0."""
        header = self.sections[".comment"]
        found = re.search(rb"rustc version (\S+)", self.data[header[4] : header[4] + header[5]])
        return found.group(1).decode()

    def ram(self, name: str) -> int:
        """Bytes of the static of this name."""
        sizes = [s.size for s in self.symbols if s.kind == OBJECT and s.name.split("::")[-1] == name]
        if len(sizes) != 1:
            raise ValueError(f"{len(sizes)} statics are named {name}")
        return sizes[0]

    def functions(self) -> dict[int, Symbol]:
        return {s.address: s for s in self.symbols if s.kind == FUNC and s.size}

    def calls(self) -> dict[str, set[str]]:
        """Who calls whom, by the targets of BL and B.W."""
        functions, calls = self.functions(), {}
        _, _, _, start, offset, size, *_ = self.sections[".text"]
        text = struct.unpack_from(f"<{size // 2}H", self.data, offset)
        for function in functions.values():
            first = (function.address - start) // 2
            for index in range(first, min(first + function.size // 2, len(text) - 1)):
                target = branch(start + 2 * index, text[index], text[index + 1])
                if target in functions and functions[target] != function:
                    calls.setdefault(function.name, set()).add(functions[target].name)
        return calls

    def frames(self) -> dict[str, int]:
        """Bytes of stack that each function takes for itself: what its first instructions push and subtract."""
        _, _, _, start, offset, size, *_ = self.sections[".text"]
        text = struct.unpack_from(f"<{size // 2}H", self.data, offset)
        frames = {}
        for function in self.functions().values():
            first = (function.address - start) // 2
            frames[function.name] = frame(text[first : min(first + function.size // 2, first + 16)])
        return frames

    def panics(self) -> list[str]:
        """The symbols of panicking code; none in a firmware that cannot panic."""
        words = ("panicking", "panic_", "unwrap_failed", "expect_failed", "_fail::", "rust_begin_unwind")
        names = {s.name for s in self.symbols if any(word in s.name for word in words)}
        return sorted(names - {"a_panic_is_reachable"})

    def heap(self) -> list[str]:
        """The symbols of a heap."""
        return sorted({s.name for s in self.symbols if "__rust_alloc" in s.name or "__rust_dealloc" in s.name})

    def panic_locations(self) -> list[str]:
        """file:line:column of each place that could panic: the `Location`s among the constants."""
        _, _, _, start, offset, size, *_ = self.sections[".rodata"]
        constants, found = self.data[offset : offset + size], set()
        for at in range(0, size - 15, 4):
            pointer, length, line, column = struct.unpack_from("<4I", constants, at)
            name = constants[pointer - start : pointer - start + length] if start <= pointer else b""
            if 4 < length < 300 and name.endswith(b".rs") and 0 < line < 100_000 and column < 1_000:
                found.add(f"{name.decode()}:{line}:{column}")
        return sorted(found)


def branch(address: int, high: int, low: int) -> int | None:
    """The target of a BL or B.W (encodings T1 and T4), if this is one."""
    if high & 0xF800 != 0xF000 or low & 0xD000 not in (0xD000, 0x9000):
        return None
    sign, upper, lower = high >> 10 & 1, high & 0x3FF, low & 0x7FF
    i1, i2 = (~((low >> 13 & 1) ^ sign)) & 1, (~((low >> 11 & 1) ^ sign)) & 1
    offset = (upper << 12 | lower << 1 | i2 << 22 | i1 << 23) - (sign << 24)
    return address + 4 + offset


def frame(code: tuple[int, ...]) -> int:
    """What a prologue takes: PUSH, PUSH.W, SUB sp and SUB.W sp (encodings T1, T2, T3)."""
    taken = 0
    for high, low in zip(code, (*code[1:], 0)):
        if high & 0xFE00 == 0xB400:
            taken += 4 * (high & 0x1FF).bit_count()
        elif high == 0xE92D:
            taken += 4 * low.bit_count()
        elif high & 0xFF80 == 0xB080:
            taken += 4 * (high & 0x7F)
        elif high & 0xFBFF in (0xF1AD, 0xF2AD) and low & 0x0F00 == 0x0D00:
            taken += immediate(high >> 10 & 1, low >> 12 & 7, low & 0xFF, plain=high & 0x0200 != 0)
        elif high & 0xFF80 == 0xB000 or high & 0xFF00 == 0xBD00:
            break  # the epilogue of a short function
    return taken


def immediate(i: int, imm3: int, imm8: int, plain: bool) -> int:
    """The constant of a 32-bit Thumb instruction; if not `plain`, ThumbExpandImm."""
    imm12 = i << 11 | imm3 << 8 | imm8
    if plain or imm12 < 0x400:
        return imm12
    turned = 0x80 | imm12 & 0x7F
    by = imm12 >> 7
    return (turned >> by | turned << (32 - by)) & 0xFFFFFFFF


def demangled(name: str) -> str:
    """A legacy Rust name without lengths and hash; any other name as it is."""
    if not name.startswith("_ZN"):
        return name
    parts, at = [], 3
    while at < len(name) and name[at].isdigit():
        end = at
        while name[end].isdigit():
            end += 1
        length = int(name[at:end])
        parts.append(name[end : end + length])
        at = end + length
    if parts and len(parts[-1]) == 17 and parts[-1][0] == "h":
        parts.pop()
    path = "::".join(parts)
    for code, char in (("$LT$", "<"), ("$GT$", ">"), ("$RF$", "&"), ("$u20$", " "), ("$C$", ","), ("..", "::"),
                       ("$u7b$", "{"), ("$u7d$", "}"), ("$LP$", "("), ("$RP$", ")"), ("$u5b$", "["), ("$u5d$", "]")):
        path = path.replace(code, char)
    return path
