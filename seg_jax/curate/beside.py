"""Documents beside the images: label tables, and what was not used, each with the reason."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from seg_jax.curate.tally import Tally
from seg_jax.data.images import DataError
from seg_jax.data.labels import LabelError, LabelTable, builtin
from seg_jax.data.sources import lists
from seg_jax.data.sources.patterns import SPLIT, walk

LISTS = (".txt", ".csv", ".tsv")
TEXTS = (*LISTS, ".json", ".yaml", ".yml")
ARRAYS = (".npy", ".npz")
OTHERS = (".xml", ".mat", ".geojson")
MAX_BYTES = 1 << 20  # larger documents are not read
MAX_SHOWN = 20  # lines on documents that are not used

# Names of documents that may be label tables; others are read only if they are JSON or YAML.
TABLE = re.compile(r"class|label|objectinfo|categor|colou?r|palette|legend|names|id2|codes|ontology", re.IGNORECASE)


def documents(root: Path) -> list[Path]:
    """Texts, arrays and annotations below a directory, without hidden ones."""
    suffixes = (*TEXTS, *ARRAYS, *OTHERS)
    files = (path for path in walk(root) if path.suffix.lower() in suffixes and path.is_file())
    return [path for path in files if not any(part.startswith(".") for part in path.relative_to(root).parts)]


def table_file(root: Path, found: Sequence[Path], masks: Sequence[Tally]) -> Path | None:
    """The document that tells the classes: one of `builtin.FILES`, else the first table that fits some masks."""
    usual = [root / name for name in builtin.FILES if (root / name).is_file()]
    if usual:
        return usual[0]
    groups = _alike(root, [path for path in found if _may_be_table(path)])
    codes = _codes(masks)
    for paths in sorted(groups.values(), key=lambda paths: (not TABLE.search(paths[0].stem), len(paths[0].parts))):
        if len({path.read_bytes() for path in paths}) == 1 and not _misfit(_table(paths[0]), codes):
            return paths[0]
    return None


def unused(root: Path, found: Sequence[Path], used: Iterable[Path], masks: Sequence[Tally]) -> tuple[list[str], bool]:
    """Lines on the documents that were not used, and whether one of them says that values differ between files.

    Args:
      root: directory of the data set.
      found: all documents.
      used: those that are used.
      masks: some masks, with which tables are compared.
    """
    used = set(used)
    codes = _codes(masks)
    lines, differ = [], False
    for pattern, paths in _alike(root, [path for path in found if path not in used]).items():
        names = f"{pattern} ({len(paths)} files)" if len(paths) > 1 else pattern
        tables = len(paths) > 1 and _may_be_table(paths[0]) and isinstance(_table(paths[0]), LabelTable)
        if tables and len({path.read_bytes() for path in paths}) > 1:
            differ = True
            lines.append(
                f"{names}: differ from one another, so a value is another class in each directory. Write all masks "
                "with one table of classes"
            )
        elif any(
            path.name == other.name and (path.parent == other.parent or path.read_bytes() == other.read_bytes())
            for path in paths
            for other in used
        ):
            continue
        else:
            lines.append(f"{names}: {_reason(root, paths[0], codes, used)}")
    more = [f"... and {len(lines) - MAX_SHOWN} more"] if len(lines) > MAX_SHOWN else []
    return [*lines[:MAX_SHOWN], *more], differ


def _alike(root: Path, paths: Sequence[Path]) -> dict[str, list[Path]]:
    """Documents by what they have in common: a name in several directories, or a directory with many of a kind."""
    places: dict[str, set[Path]] = {}
    for path in paths:
        places.setdefault(path.name, set()).add(path.parent)
    crowds: dict[tuple[Path, str], int] = {}
    for path in paths:
        crowds[path.parent, path.suffix] = crowds.get((path.parent, path.suffix), 0) + 1
    groups: dict[str, list[Path]] = {}
    for path in paths:
        below = path.relative_to(root)
        if len(places[path.name]) > 1:
            pattern = f"**/{path.name}"
        elif crowds[path.parent, path.suffix] > 3 and not TABLE.search(path.stem) and not SPLIT.search(path.stem):
            pattern = (below.parent / f"*{path.suffix}").as_posix()
        else:
            pattern = below.as_posix()
        groups.setdefault(pattern, []).append(path)
    return groups


def _may_be_table(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix not in TEXTS or path.stat().st_size > MAX_BYTES:
        return False
    return bool(TABLE.search(path.stem)) or suffix in (".json", ".yaml", ".yml", ".csv")


def _table(path: Path) -> LabelTable | LabelError:
    try:
        return builtin.label_table(None, str(path))
    except LabelError as error:
        return error


def _codes(masks: Sequence[Tally]) -> tuple[bool, set[int]]:
    """Whether the masks contain colours, and their values or colours."""
    return any(one.colors for one in masks), set().union(*(one.values for one in masks))


def _misfit(table: LabelTable | LabelError, codes: tuple[bool, set[int]]) -> str:
    """Why a table cannot be that of masks; '' if it can."""
    if isinstance(table, LabelError):
        return "no label table"
    colors, found = codes
    if colors:
        meant = {red << 16 | green << 8 | blue for _, (red, green, blue) in table.color_meanings()}
        return "" if found and len(found & meant) >= 0.5 * min(len(found), len(meant)) else "its colours are others"
    meant = {value for stored in (*table.values, table.ignore) for value in stored}
    plain = table.values == tuple((i,) for i in range(len(table)))
    if found <= meant or (plain and len(table) in (len(found), len(found - {255}))):
        return ""
    return f"the masks contain {len(found)} values, such as {max(found - meant)}, which is not one of its"


def _reason(root: Path, path: Path, codes: tuple[bool, set[int]], used: Iterable[Path]) -> str:
    suffix = path.suffix.lower()
    if suffix in ARRAYS:
        return _of_array(path)
    if suffix in OTHERS:
        return "annotations in this form are not read. Draw them as masks, an image for each photograph"
    if path.stat().st_size > MAX_BYTES:
        return "is larger than 1 MiB, and was not read"
    tables = [other for other in used if _may_be_table(other) and isinstance(_table(other), LabelTable)]
    table = _table(path) if _may_be_table(path) else None
    if isinstance(table, LabelTable):
        why = _misfit(table, codes)
        return f"is a label table, but {why}" if why else f"is a label table; {(tables or [path])[0].name} is used"
    if count := _listed(root, path):
        others = sorted((one.stem != path.stem, one.name) for one in used if _listed(root, one))
        other = others[0][1] if others else ""
        return f"lists {count} pairs" + (f"; {other} is used" if other else ", and no list to evaluate on is beside it")
    if SPLIT.search(path.stem):
        return "names no pair of a photograph and a mask that are there"
    if isinstance(table, LabelError) and TABLE.search(path.stem):
        return str(table).removeprefix(f"{path}: ").rstrip(".")
    return "is no label table, and no list of photographs with their masks"


def _listed(root: Path, path: Path) -> int:
    """The number of pairs that a list names; 0 for other documents."""
    if path.suffix.lower() not in LISTS:
        return 0
    try:
        return len(lists.read(root, path, lambda: ())[0])
    except DataError:
        return 0


def _of_array(path: Path) -> str:
    if path.suffix.lower() == ".npz":
        return "arrays are read from SPLIT.npz with 'images' and 'labels' (data.source='arrays')"
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # of many kinds: a damaged header, pickled objects
        return f"cannot be read as an array ({type(error).__name__})"
    form = f"is an array, {array.dtype} {list(array.shape)}"
    if array.ndim != 2 or array.dtype.kind not in "iu" or array.size == 0:
        return f"{form}; masks and photographs are read from image files"
    low, high = int(array.min()), int(array.max())
    kind = "uint8" if low >= 0 and high <= 255 else "uint16"
    cure = f"Image.fromarray(np.load(path).astype(np.{kind})).save(path.with_suffix('.png'))"
    cure = (
        f"Write each as a PNG of the same name: {cure}" if low >= 0 and high <= 65535 else "Shift them to 0 and above"
    )
    return f"{form} with values {low} to {high}; masks are read from image files. {cure}"
