"""Atomic writes."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all: a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Names have at most 255 bytes, and this one gets eight characters more.
    start = os.fsencode(path.name)[:100].decode(errors="ignore")
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{start}.")
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
