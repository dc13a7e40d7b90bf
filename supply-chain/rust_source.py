"""Counts in the Rust source of a crate what a reader of it looks for first. Knows Rust's comments and strings, so that only code
counts; not what a crate is for."""

import pathlib
import re

UNSAFE = re.compile(r"\bunsafe\b")
ASM = re.compile(r"\b(?:global_|naked_)?asm!")
# Ways to files, the network, other programs and the environment.
SYSTEM = re.compile(r"\bstd::(?:fs|net|process|env)\b")
RAW_STRING = re.compile(r'(?:b|c)?r(#*)"')
CHARACTER = re.compile(r"b?'(?:\\[^\n']+|\\'|[^\\'\n])'")
FOREIGN = {".c", ".h", ".s", ".S", ".asm", ".o", ".a", ".lib", ".so", ".dll", ".exe", ".wasm"}


def facts(crate: pathlib.Path, proc_macro: bool) -> str:
    """One line of what is in a crate: the words of the notes."""
    code = [code_of(file.read_text(encoding="utf-8")) for file in sorted((crate / "src").rglob("*.rs"))]
    foreign = [file for file in crate.rglob("*") if file.suffix in FOREIGN and "tests" not in file.relative_to(crate).parts]
    counted = {
        "lines": sum(1 for text in code for line in text.splitlines() if line.strip()),
        "unsafe": sum(len(UNSAFE.findall(text)) for text in code),
        "asm": sum(len(ASM.findall(text)) for text in code),
        "system": sum(len(SYSTEM.findall(text)) for text in code),
        "files not of Rust": len(foreign),
    }
    said = [f"{name} {number}" for name, number in counted.items()]
    said.append("build script" if (crate / "build.rs").exists() else "no build script")
    said.append("procedural macro" if proc_macro else "no procedural macro")
    return ", ".join(said)


def code_of(text: str) -> str:
    """The text without comments, and with empty strings."""
    code, at = [], 0
    while at < len(text):
        if text.startswith("//", at):
            at = end_of(text, "\n", at)
        elif text.startswith("/*", at):
            at = end_of_comment(text, at)
        elif (raw := RAW_STRING.match(text, at)) and not in_a_word(text, at):
            at = end_of(text, '"' + raw[1], raw.end(), past=True)
        elif text[at] == '"':
            at = end_of_string(text, at + 1)
        elif (character := CHARACTER.match(text, at)) and not in_a_word(text, at):
            at = character.end()
        else:
            code.append(text[at])
            at += 1
    return "".join(code)


def in_a_word(text: str, at: int) -> bool:
    return at > 0 and (text[at - 1].isalnum() or text[at - 1] == "_")


def end_of(text: str, mark: str, at: int, past: bool = False) -> int:
    found = text.find(mark, at)
    return len(text) if found < 0 else found + (len(mark) if past else 0)


def end_of_string(text: str, at: int) -> int:
    while at < len(text) and text[at] != '"':
        at += 2 if text[at] == "\\" else 1
    return at + 1


def end_of_comment(text: str, at: int) -> int:
    """Comments of this kind lie in each other."""
    depth, at = 1, at + 2
    while depth and at < len(text):
        if text.startswith("/*", at):
            depth, at = depth + 1, at + 2
        elif text.startswith("*/", at):
            depth, at = depth - 1, at + 2
        else:
            at += 1
    return at
