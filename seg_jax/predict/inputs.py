"""The inputs on the command line, and the names of their results."""

from __future__ import annotations

import glob
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seg_jax.data.images import EXTENSIONS, DataError, Encoded
from seg_jax.predict.output import Input
from seg_jax.predict.video import SUFFIXES


def find(inputs: Sequence[str]) -> list[Input]:
    """The inputs named by files, folders (searched recursively), glob patterns, camera numbers and `-`, each once.

    Raises:
      DataError: an argument names no input.
    """
    found: dict[Any, Input] = {}
    for text in inputs:
        path = Path(text).expanduser()
        if text == "-":
            content = sys.stdin.buffer.read()
            found["-"] = Encoded(content, "stdin")
        elif path.is_dir():
            files = sorted(p for p in path.rglob("*") if p.suffix.lower() in (*EXTENSIONS, *SUFFIXES) and p.is_file())
            if not files:
                raise DataError(f"the folder {text!r} contains no image and no video.")
            found |= {p.resolve(): p for p in files if p.resolve() not in found}
        elif path.exists():
            found.setdefault(path.resolve(), path)
        elif text.isdecimal():
            found[text] = int(text)
        else:
            files = sorted(Path(p) for p in glob.glob(str(path), recursive=True) if Path(p).is_file())
            if not files:
                raise DataError(f"{text!r} is not an image file, a folder with images, or a pattern that matches one.")
            found |= {p.resolve(): p for p in files if p.resolve() not in found}
    return list(found.values())


def output_names(inputs: Sequence[Input]) -> list[str]:
    """A name for each result: the file's stem, with a number if it is repeated."""
    used: set[str] = set()
    names = []
    for item in inputs:
        stem = f"camera{item}" if isinstance(item, int) else Path(item.name).stem
        name, number = stem, 1
        while name in used:
            number += 1
            name = f"{stem}-{number}"
        used.add(name)
        names.append(name)
    return names
