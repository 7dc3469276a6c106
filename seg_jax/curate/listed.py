"""Lists of pairs beside the images, and groups of examples that belong into one split."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from seg_jax.curate.beside import LISTS
from seg_jax.curate.layout import Layout
from seg_jax.curate.proposal import first_split
from seg_jax.data.images import DataError
from seg_jax.data.sources import lists
from seg_jax.data.sources.patterns import SPLIT

Paths = tuple[Path, Path]

MAX_LISTS = 20  # more texts in a directory are labels of single photographs
BEGINNING = "([^/]*?)[_ .-]?[0-9]+[.][^.]+$"  # value for data.group: the name up to its last number
MIN_GROUPS = 3  # directories of examples from which on they are held out whole: of two, one would be half of the data


@dataclass(frozen=True)
class Lists:
    """Lists of the same form for several splits, or one list.

    Attributes:
      template: value for `data.list`.
      splits: split -> its pairs; '' is the only one of a list without a split.
      files: the list files.
      stems: whether they only choose among the pairs that a search finds.
    """

    template: str
    splits: Mapping[str, Sequence[Paths]]
    files: tuple[Path, ...]
    stems: bool

    def __len__(self) -> int:
        return sum(map(len, self.splits.values()))


def find(root: Path, documents: Sequence[Path], matched: Layout | None) -> Lists | None:
    """The lists that name most pairs; a training list counts only beside one to evaluate on.

    Args:
      root: directory of the data set.
      documents: files that may be lists.
      matched: what a search has found, for lists of stems.
    """
    pairs = [pair for part in matched.pairs.values() for pair in part] if matched else []
    found: dict[tuple[str, bool], dict[str, tuple[Path, list[Paths]]]] = {}
    crowds = Counter((path.parent, path.suffix) for path in documents)
    for path in documents:
        if path.suffix.lower() not in LISTS or crowds[path.parent, path.suffix] > MAX_LISTS:
            continue
        asked: list[bool] = []
        named = _pairs(root, path, pairs, asked)
        if not named:
            continue
        below = path.relative_to(root).as_posix()
        match = SPLIT.search(path.stem)
        place = below.rindex(path.name) + match.start() if match else 0
        template = below[:place] + "{split}" + below[place + len(match[0]) :] if match else below
        found.setdefault((template, bool(asked)), {})[match[0] if match else ""] = (path, named)
    candidates = [
        Lists(
            template,
            {split: named for split, (_, named) in splits.items()},
            tuple(path for path, _ in splits.values()),
            stems,
        )
        for (template, stems), splits in found.items()
    ]
    divided = [one for one in candidates if first_split(one.splits, "train") and _evaluated(one.splits)]
    # A list without splits that names nearly everything says which file belongs to which.
    whole = [one for one in candidates if "" in one.splits and not one.stems]
    return max(divided or whole, key=lambda one: (len(one), not one.stems), default=None)


def _evaluated(splits: Mapping[str, Sequence[Paths]]) -> str:
    return first_split(splits, "val") or first_split(splits, "test")


def _pairs(root: Path, path: Path, matched: Sequence[Paths], asked: list[bool]) -> list[Paths]:
    """The pairs of a list; [] if the file is something else. `asked` gets an item if it is a list of stems."""

    def search() -> Sequence[Paths]:
        asked.append(True)
        return matched

    try:
        named, bad = lists.read(root, path, search)
    except DataError:
        return []
    # Stems of other things match a few photographs by chance; a row of two paths is meant as a pair.
    return named if len(named) > len(bad) or not asked else []


def groups(root: Path, photos: Sequence[Path]) -> tuple[str, str]:
    """(value for `data.group`, note): directories of several photographs are patients, scenes, videos or tiles."""
    parents = [photo.relative_to(root).parent.parts for photo in photos if photo.is_relative_to(root)]
    depth = max(map(len, parents), default=0)
    for level in range(depth):
        names = Counter(parts[level] for parts in parents if len(parts) > level)
        if len(names) < 2 or sum(names.values()) < len(photos):
            continue
        if 2 * len(names) > len(photos):  # a directory for each example
            return "", ""
        shown = ", ".join(sorted(names)[:3]) + (", ..." if len(names) > 3 else "")
        note = f"photographs are in {len(names)} directories ({shown})"
        if len(names) < MIN_GROUPS:
            return "", f"{note}, both divided: set data.group if those of one directory resemble one another"
        note += ": whole ones are held out together, as of one patient, scene or video (data.group)"
        return "^" + "[^/]+/" * level + "([^/]+)/", note
    words = Counter(re.sub(r"[_\-. ]?\d+$", "", photo.stem) for photo in photos)
    if MIN_GROUPS <= len(words) <= len(photos) / 2:
        shown = ", ".join(sorted(words)[:3]) + (", ..." if len(words) > 3 else "")
        note = f"names of photographs begin with {len(words)} different words ({shown})"
        return "", f"{note}: if these are patients, scenes or videos, set data.group to '{BEGINNING}'"
    return "", ""
