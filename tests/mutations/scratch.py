"""A copy of the working tree in which code may be broken: below target/, with a target directory of its own that is
kept, so that a second run builds only what has changed."""

import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]


def scratch(name: str) -> pathlib.Path:
    """Brings the copy `name` up to the working tree. A file that is the same is not touched: cargo goes by times."""
    copy = ROOT / "target" / "mutations" / name
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )
    wanted = {path for path in listed.stdout.split("\0") if path and (ROOT / path).is_file()}
    for path in wanted:
        put(copy / path, (ROOT / path).read_bytes())
    for path in sorted(copy.rglob("*")):
        relative = path.relative_to(copy)
        if relative.parts[0] != "target" and path.is_file() and str(relative) not in wanted:
            path.unlink()
    return copy


def put(path: pathlib.Path, contents: bytes) -> None:
    """Writes a file, unless that is what it holds."""
    if path.is_file() and path.read_bytes() == contents:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(contents)
