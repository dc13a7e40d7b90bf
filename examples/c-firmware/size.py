#!/usr/bin/env python3
"""How much of a firmware's flash comes from a library: size.py MAP LIBRARY, from the map that the linker wrote."""

import re
import sys

path, library = sys.argv[1:]
# ` .text.name  0xADDRESS  0xLENGTH  FILE`, where a long name has a line of its own.
placed = re.compile(r"^ \.(?:text|rodata)\S*\s+0x[0-9a-f]+\s+0x([0-9a-f]+) (.+)$", re.M)
with open(path) as file:
    text = file.read().split("Linker script and memory map", 1)[1]
    found = [int(length, 16) for length, source in placed.findall(text) if library in source]
print(f"{sum(found)} bytes of text are from {library}")
