"""List files of the source `folder`: the pairs of a split, one on each line, or only the names of its photographs.

Columns are separated by tabs, commas, semicolons or spaces, may be quoted and may have a header. Paths may be those of
another machine, with backslashes, and without extensions.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from seg_jax.data.examples import Bad
from seg_jax.data.images import PHOTOGRAPHS, DataError

Paths = tuple[Path, Path]  # photograph and mask

PHOTO = re.compile(r"image|img|photo|picture|rgb|input|file|^x$", re.IGNORECASE)
MASK = re.compile(r"mask|label|annot|seg|gt|truth|target|output|^y$", re.IGNORECASE)
NAME = re.compile(r"(image|img|photo|file)?[ _]?(id|name|stem|path|image|file|filename)s?", re.IGNORECASE)


class Row(NamedTuple):
    """A line: its number, its text and its columns."""

    number: int
    text: str
    cells: tuple[str, ...]


def read(root: Path, path: Path, matched: Callable[[], Sequence[Paths]]) -> tuple[list[Paths], list[Bad]]:
    """The pairs of a list file, and the lines that name no pair.

    Args:
      root: directory of the data set.
      path: the file.
      matched: gives the pairs that are found without the list; a list of one column chooses among them by stem, name
        or path.

    Raises:
      DataError: there is no such file, it is no text, a line has another form, or it lists nothing.
    """
    if not path.is_file():
        raise DataError(f"config.data.list: there is no list file {path}.")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error.reason}). Save it as UTF-8.") from error
    rows = [
        Row(number, line, _cells(root, line))
        for number, line in enumerate(lines, start=1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not rows:
        raise DataError(f"{path} lists no pairs.")
    header = _is_header(root, rows)
    columns = _columns(rows[0].cells) if header else (0, 1)
    rows = rows[1:] if header else rows
    if all(len(row.cells) == 1 for row in rows):
        return _chosen(path, rows, matched())
    pairs, bad = [], []
    for row in rows:
        if len(row.cells) != 2 and not (header and len(row.cells) > max(columns)):
            raise DataError(
                f"{path}, line {row.number}: {row.text!r} is not 'image mask'; separate two paths by a tab."
            )
        image, mask = (below(root, row.cells[column], beside=path.parent) for column in columns)
        missing = [str(p) for p in (image, mask) if not p.is_file()]
        if missing:
            bad.append(Bad(f"{path}, line {row.number}", f"names a file that does not exist: {', '.join(missing)}"))
        else:
            pairs.append((image, mask))
    if not pairs and not bad:
        raise DataError(f"{path} lists no pairs.")
    return pairs, bad


def below(root: Path, listed: str, *, beside: Path | None = None) -> Path:
    """A listed path as it is, or the longest tail of it that exists below `root`.

    SegNet's lists start with '/SegNet/CamVid/', and others with the drive of another machine.

    Args:
      root: directory of the data set.
      listed: the path; it may have backslashes, and no extension.
      beside: the directory of the list, from which paths may be told too.
    """
    path = Path(listed)
    if path.is_absolute() and path.is_file():
        return path
    for text in dict.fromkeys((listed, listed.replace("\\", "/"))):
        parts = [part for part in Path(text).parts if part != Path(text).anchor]
        tails = [parts[i:] for i in range(max(1, len(parts) - 1))]  # at least a directory and a name
        places = [root.joinpath(*tail) for tail in tails] + ([beside.joinpath(*parts)] if beside else [])
        for place in places:
            endings = ("",) if place.suffix.lower() in PHOTOGRAPHS else PHOTOGRAPHS
            for candidate in (Path(f"{place}{ending}") for ending in endings):
                if candidate.is_file():
                    return candidate
    return root / path.relative_to(path.anchor)


def _cells(root: Path, line: str) -> tuple[str, ...]:
    """The columns of a line."""
    separator = next((s for s in "\t;," if s in line), None)
    if separator:
        cells = next(csv.reader([line.strip(" ")], delimiter=separator, skipinitialspace=True), [])
        return tuple(cell.strip() for cell in cells if cell.strip())
    line = line.strip()
    cells = [cell for cell in next(csv.reader([line], delimiter=" ", skipinitialspace=True)) if cell]
    if len(cells) > 1 and '"' not in line:  # names may contain spaces: the cut is where two files exist
        cuts = [(line[: space.start()], line[space.end() :]) for space in re.finditer(r"\s+", line)]
        exists = [pair for pair in cuts if all(below(root, name).is_file() for name in pair)]
        return exists[0] if exists else tuple(cells) if re.search(r"[./\\]", line) else (line,)
    return tuple(cells)


def _is_header(root: Path, rows: Sequence[Row]) -> bool:
    cells = rows[0].cells
    words = [cell for cell in cells if not re.search(r"[./\\]", cell) and not re.fullmatch(r"\d+", cell)]
    if len(words) < len(cells) or len(rows) == 1 or any(below(root, cell).is_file() for cell in cells):
        return False
    if len(cells) == 1:
        return NAME.fullmatch(cells[0]) is not None
    return any(PHOTO.search(cell) for cell in cells) or any(MASK.search(cell) for cell in cells)


def _columns(header: Sequence[str]) -> tuple[int, int]:
    """The columns of photographs and masks."""
    masks = [i for i, cell in enumerate(header) if MASK.search(cell)]
    photos = [i for i, cell in enumerate(header) if PHOTO.search(cell) and i not in masks]
    return (photos[0], masks[0]) if photos and masks else (0, 1)


def _chosen(path: Path, rows: Sequence[Row], pairs: Sequence[Paths]) -> tuple[list[Paths], list[Bad]]:
    """The pairs whose photographs the rows name."""
    named: dict[str, list[Paths]] = {}
    for pair in pairs:
        photo = pair[0]
        parts = photo.parts
        tails = ["/".join(parts[i:]) for i in range(max(0, len(parts) - 4), len(parts))]
        for text in {*tails, *(tail.removesuffix(photo.suffix) for tail in tails)}:
            named.setdefault(_plain(text), []).append(pair)
    chosen, bad = [], []
    for row in rows:
        found = named.get(_plain(row.cells[0].replace("\\", "/").strip("/")), [])
        if len(found) == 1:
            chosen.append(found[0])
        else:
            why = f"names {len(found)} photographs, such as {found[0][0]}" if found else "names no photograph"
            bad.append(Bad(f"{path}, line {row.number}", f"{row.cells[0]!r} {why} of config.data.images"))
    return chosen, bad


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text)
