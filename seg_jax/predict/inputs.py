"""The inputs on the command line, and where their results belong."""

from __future__ import annotations

import glob
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeGuard

from seg_jax.data.decoder import DataError, Encoded
from seg_jax.data.images import PHOTOGRAPHS
from seg_jax.data.prepared import PREDICTIONS
from seg_jax.data.sources.patterns import walk
from seg_jax.predict.photograph import LARGEST
from seg_jax.predict.video import SUFFIXES

Input = Path | Encoded | int  # a file, a picture from standard input, or the number of a camera


@dataclass(frozen=True)
class Found:
    """An input and its place below the folder in which it was found.

    Attributes:
      item: the input.
      place: its path below that folder, or its own name.
      folder: the name of that folder; '' for what is no file.
    """

    item: Input
    place: PurePosixPath
    folder: str = ""

    def names(self, *, beside: bool) -> Iterator[str]:
        """Names for the result, best first, without end: the path without its suffix, then longer ones.

        Args:
          beside: whether the first name is that of a file in the same folder (`x.jpg` beside `x.png`).
        """
        stem, whole = str(self.place.with_suffix("")), str(self.place)
        yield stem
        if self.folder:
            inside = [f"{self.folder}/{stem}", f"{self.folder}/{whole}"]
            yield from [whole, *inside] if beside else [*inside, whole]
        number = 1
        while True:
            number += 1
            yield f"{stem}-{number}"


def is_video(item: Input) -> TypeGuard[Path | int]:
    """Whether an input is a video file or a camera."""
    return isinstance(item, int) or (isinstance(item, Path) and item.suffix.lower() in SUFFIXES)


def find(inputs: Sequence[str], out: Path | None) -> list[Found]:
    """The inputs named by files, folders (searched recursively), glob patterns, camera numbers and `-`, each once.

    Links to folders are followed, each folder is searched once. Hidden files, and folders that contain a record of
    results, `PREDICTIONS`, are passed over, unless they are named themselves.

    Args:
      inputs: the arguments.
      out: the directory of the results; None: a new one.

    Raises:
      DataError: an argument names no input, or a search comes upon `out`.
    """
    found: dict[object, Found] = {}
    for text in inputs:
        path = Path(text).expanduser()
        if text == "-":
            content = sys.stdin.buffer.read(LARGEST + 1)
            if len(content) > LARGEST:
                raise DataError(
                    f"standard input has more than {LARGEST // 2**20} MiB. Save it as a file and name that."
                )
            found["-"] = Found(Encoded(content, "stdin"), PurePosixPath("stdin"))
        elif path.is_dir():
            files = [p for p in _visible(path) if p.suffix.lower() in (*PHOTOGRAPHS, *SUFFIXES)]
            suffixes = " ".join(sorted({*PHOTOGRAPHS, *SUFFIXES}))
            nothing = f"the folder {text!r} contains no image and no video. Name one with files that end in {suffixes}."
            for one in _searched(files, path, out, nothing):
                found.setdefault(_identity(one.item), one)
        elif path.exists():
            if not path.is_file():
                raise DataError(f"{text!r} is neither a file nor a folder. Name photographs, folders or videos.")
            found.setdefault(path.resolve(), Found(path, PurePosixPath(path.name), path.resolve().parent.name))
        elif text.isdecimal():
            found[text] = Found(int(text), PurePosixPath(f"camera{text}"))
        else:
            files = [Path(p) for p in glob.glob(str(path), recursive=True)]
            nothing = f"{text!r} is not an image file, a folder with images, or a pattern that matches one. Name one."
            for one in _searched(files, _root(path), out, nothing):
                found.setdefault(_identity(one.item), one)
    return list(found.values())


def _identity(item: Input) -> object:
    return item.resolve() if isinstance(item, Path) else item


def _visible(folder: Path) -> list[Path]:
    """Everything below a folder that is not hidden."""
    return [path for path in walk(folder) if not any(part[0] == "." for part in path.relative_to(folder).parts)]


def _root(pattern: Path) -> Path:
    """The part of a pattern before its first wildcard."""
    return next(parent for parent in pattern.parents if not glob.has_magic(str(parent)))


def _searched(files: Sequence[Path], root: Path, out: Path | None, nothing: str) -> list[Found]:
    """The files of a search below `root` that are no results of an earlier call, in order."""
    real, out = root.resolve(), out and out.expanduser().resolve()
    results: dict[Path, bool] = {}

    def in_results(folder: Path, top: Path) -> bool:
        if folder not in results:
            inside = top in folder.parents
            results[folder] = inside and ((folder / PREDICTIONS).is_file() or in_results(folder.parent, top))
        return results[folder]

    def is_searched(folder: Path, path: Path) -> bool:
        between = path.parents[: path.parents.index(root) + 1]
        return real in (folder, *folder.parents) or any(other.resolve() == folder for other in between)

    found = []
    for path in sorted(files):
        folder = path.parent.resolve()
        # A link may lead elsewhere, where only the path as it was found says what is above it.
        if not path.is_file() or in_results(folder, real) or in_results(path.parent, root):
            continue
        if out and out in (folder, *folder.parents) and is_searched(out, path):
            raise DataError(
                f"--out={out} contains the input {path}: the next call would take results for photographs. Name a "
                "folder that contains no inputs."
            )
        place = path.relative_to(root)
        if ".." in place.parts:  # of a pattern
            place = (folder / path.name).relative_to(real) if real in (folder, *folder.parents) else Path(path.name)
        found.append(Found(path, PurePosixPath(place.as_posix()), real.name))
    if not found:
        raise DataError(nothing)
    return found
