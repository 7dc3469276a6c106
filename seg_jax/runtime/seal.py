"""The checksum inside of an exported file, by which a changed one is noticed before its runtime reads it.

The file holds `MARK` and 64 hexadecimal digits: the SHA-256 of itself with zeros in their place. Each format has room
for such a text: a metadata property, the comment of a zip archive, a file among the assets of a SavedModel.
"""

from __future__ import annotations

import hashlib
import mmap
from pathlib import Path

MARK = b"seg_jax sha256 "
BLANK = (MARK + b"0" * 64).decode()
NAME = "seal"  # of the property or file that holds it


def digest(path: Path) -> str:
    """SHA-256 of a file; for a directory, of the names and contents of all files in it."""
    return _read(path)[0]


def intact(path: Path) -> bool | None:
    """Whether a file or directory is as `seal` left it; None where nobody sealed it."""
    found, seals = _read(path, blank=True)
    if not seals:
        return None
    return len(seals) == 1 and seals[0][2] == found.encode()


def seal(path: Path) -> None:
    """Writes the checksum into a file or SavedModel with one `BLANK`, or with a seal that is no longer right."""
    if path.is_dir():
        (path / "assets" / NAME).write_text(BLANK)
    found, ((file, at, _),) = _read(path, blank=True)
    with file.open("r+b") as stream:
        stream.seek(at)
        stream.write(found.encode())


def _read(path: Path, *, blank: bool = False) -> tuple[str, list[tuple[Path, int, bytes]]]:
    """(SHA-256, (file, offset, digits) of every seal); with `blank` the digits of seals count as zeros."""
    sha256, seals = hashlib.sha256(), []
    for file in sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]:
        if path.is_dir():
            sha256.update(f"{file.relative_to(path)}\0{file.stat().st_size}\0".encode())
        if not file.stat().st_size:
            continue  # which cannot be mapped
        with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            begin = 0
            while blank and (mark := content.find(MARK, begin)) >= 0:
                at = mark + len(MARK)
                seals.append((file, at, content[at : at + 64]))
                sha256.update(content[begin:at] + b"0" * len(seals[-1][2]))
                begin = at + 64
            with memoryview(content) as view, view[begin:] as rest:
                sha256.update(rest)
    return sha256.hexdigest(), seals
