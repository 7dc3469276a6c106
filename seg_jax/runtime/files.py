"""Atomic writes, and folders that nobody else writes to."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

PARTIAL = ".partial-"  # in the hidden names of what is not complete


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all: a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Names have at most 255 bytes, and this one gets a few more.
    start = os.fsencode(path.name)[:100].decode(errors="ignore")
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{start}{PARTIAL}")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        # mkstemp makes private files; the umask that the user set is what counts.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def partial(path: Path) -> Path:
    """Where a large file or a folder is written before it gets its name; the same place after an interruption."""
    return path.with_name(f".{path.name}{PARTIAL}")


def remove_partial(folder: Path) -> None:
    """Removes what killed processes left in a folder: files of `write_bytes`, and those of `partial`."""
    for path in folder.glob(f".*{PARTIAL}*"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def numbered_folder(base: Path) -> Path:
    """Makes `base/1`, or the first higher number that is not there; two programs at once get two folders."""
    base.mkdir(parents=True, exist_ok=True)
    number = max((int(path.name) for path in base.iterdir() if path.name.isdecimal()), default=0)
    while True:
        number += 1
        try:
            (base / str(number)).mkdir()
            return base / str(number)
        except FileExistsError:
            continue
