"""What the command line names as inputs, and the names of their results."""

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
    """What files, folders (searched below), glob patterns, camera numbers and `-` name, each once.

    Raises:
      DataError: an input names nothing.
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
                raise DataError(f"the folder {text!r} holds no image and no video.")
            found |= {p.resolve(): p for p in files if p.resolve() not in found}
        elif path.exists():
            found.setdefault(path.resolve(), path)
        elif text.isdecimal():
            found[text] = int(text)
        else:
            files = sorted(Path(p) for p in glob.glob(str(path), recursive=True) if Path(p).is_file())
            if not files:
                raise DataError(f"{text!r} is no image file, no folder with images, and no pattern that matches one.")
            found |= {p.resolve(): p for p in files if p.resolve() not in found}
    return list(found.values())


def output_names(inputs: Sequence[Input]) -> list[str]:
    """A name for each result: the file's stem, numbered where it occurs again."""
    taken: set[str] = set()
    names = []
    for item in inputs:
        stem = f"camera{item}" if isinstance(item, int) else Path(item.name).stem
        name, number = stem, 1
        while name in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name)
        names.append(name)
    return names
