"""Kinds of files: those that share their directories and the words around their examples' own names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from seg_jax.curate import kinds
from seg_jax.data.images import DataError, read_stored
from seg_jax.data.sampler import spread
from seg_jax.data.sources.patterns import SPLIT, loose

PHOTO = re.compile(
    r"^(images?|imgs?|jpegimages|photos?|photographs?|rgb|pictures?|pics?|inputs?|originals?|frames?|sat)$"
)
MASK = re.compile(
    r"^(masks?|labels?|gt|groundtruth|truth|annot\w*|seg\w*|trimaps?|targets?|manual|semantic|class(es)?)$"
)
# What is made from photographs and masks, and other measurements of the same place.
OTHER = re.compile(
    r"^(overlays?|viz|vis|visuali[sz]\w*|blend\w*|pred\w*|results?|outputs?|previews?|thumb\w*|depths?|disp\w*|heights?|"
    r"dsm|dem|dtm|ndsm|elevation|nir|irrg|cir|ir|infrared|thermal|lwir|edges?|bound\w*|contours?|instances?|inst|objects?|panoptic|weights?|"
    r"conf\w*|prob\w*|uncertain\w*|fov|roi|skeletons?|heatmaps?|normals?|flow)$"
)
SILENT = ("*", "*/*", "*/*/*")  # directories whose names tell no role and no split
MAX_FOLDERS = 8  # directories of the same names that may be kinds; more are videos or patients
COLORED = re.compile(r"^colou?rs?$")  # a mask drawn for people, beside one of values


@dataclass(frozen=True)
class Kind:
    """Files that play one role.

    Attributes:
      pattern: of their paths below the directory of the data set, with stars.
      files: example -> its file.
      mask: whether they look like masks.
    """

    pattern: str
    files: Mapping[str, Path]
    mask: bool

    @cached_property
    def words(self) -> frozenset[str]:
        """The words in the pattern, in lower case."""
        spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=\d)(?=[A-Za-z])|(?<=[A-Za-z])(?=\d)", " ", self.pattern)
        return frozenset(word.lower() for word in re.findall(r"[A-Za-z]+", spaced))

    def has(self, *expressions: re.Pattern[str]) -> bool:
        """Whether one of the words is of these."""
        return any(expression.match(word) for word in self.words for expression in expressions)

    @cached_property
    def mode(self) -> str:
        """Pillow's mode of the first file that can be opened; '' for none."""
        for path in self.files.values():
            try:
                with Image.open(path) as image:
                    return image.mode
            except Exception:  # decoders raise errors of many kinds
                continue
        return ""

    @cached_property
    def constant(self) -> bool:
        """Whether the masks are (nearly) the same in all files, as fields of view are."""
        paths = list(self.files.values())
        sample = [paths[i] for i in spread(len(paths), 8)]
        try:
            first, *others = (kinds.color_codes(read_stored(path).pixels) for path in sample)
        except DataError:
            return False
        return bool(others) and all(_overlap(first, other) > 0.95 for other in others)

    @property
    def derived(self) -> bool:
        """Whether its names say that it is made from photographs and masks, or something else than both."""
        return self.has(OTHER) or (self.mask and self.has(COLORED))

    @property
    def bands(self) -> int:
        """2 for bytes in colour, 1 for one band of bytes, 0 for 16 bits, floats and files that cannot be opened."""
        return 2 if self.mode in ("RGB", "RGBA", "CMYK", "YCbCr") else int(self.mode in ("L", "LA", "P", "1"))

    def rank(self) -> tuple[int, ...]:
        """The higher, the likelier it is what it looks like."""
        if self.mask:
            return -self.constant, -self.has(OTHER), self.has(MASK), -self.has(COLORED), -(self.bands == 2)
        return -self.has(OTHER, MASK), self.bands, self.has(PHOTO)


def group(root: Path, paths: Sequence[Path], *, mask: bool) -> list[Kind]:
    """The kinds of files, each with the examples that its files belong to."""
    beside = _folders(paths)
    constant = _constant_names(root, beside)
    marks = {directory: _marks([path.stem for path in files]) for directory, files in beside.items()}
    found: dict[tuple[str, str, int], dict[tuple[str, ...], Path]] = {}
    bands: dict[tuple[Path, str], int] = {}  # those of the first file with this mark stand for all
    for path in paths:
        parts = path.relative_to(root).parent.parts
        words = [SPLIT.sub("{split}", part, count=1) for part in parts]
        words = [word if "{split}" in word or _has_role(word) else "*" for word in words]
        example = [part for part, word in zip(parts, words, strict=True) if "*" in word or "{split}" in word]
        if path.name in constant:
            stem, core = path.stem, ""
        else:
            before, core, after = _cut(path.stem, *marks[path.parent])
            stem = f"{before}*{after}"
        if (group := (path.parent, stem)) not in bands:
            bands[group] = Kind("", {"": path}, mask).bands
        found.setdefault(("/".join(words), stem + path.suffix, bands[group]), {})[*example, loose([core])] = path
    result = []
    for (folder, name, _), every in found.items():
        for files in _by_folder(every) if folder in SILENT else [every]:
            places = {path.parent.relative_to(root).as_posix() for path in files.values()}
            place = places.pop() if len(places) == 1 else folder
            result.append(Kind(name if place in ("", ".") else f"{place}/{name}", _own_names(files), mask))
    return result


def _by_folder(files: Mapping[tuple[str, ...], Path]) -> list[Mapping[tuple[str, ...], Path]]:
    """Files of a few directories without telling names, which hold the same examples, as a kind for each directory."""
    folders: dict[Path, dict[tuple[str, ...], Path]] = {}
    for example, path in files.items():
        folders.setdefault(path.parent, {})[example] = path
    names = [{example[-1] for example in part} for part in folders.values()]
    shared = set.intersection(*names)
    depths = {len(example) for example in files}
    apart = 2 <= len(folders) <= MAX_FOLDERS and depths == {2} and 2 * len(shared) >= min(map(len, names))
    return list(folders.values()) if apart else [files]


def _own_names(files: Mapping[tuple[str, ...], Path]) -> dict[str, Path]:
    """Examples without the directories that are the same for all of a kind: those tell no example from another."""
    differs = [len(set(column)) > 1 for column in zip(*(example[:-1] for example in files), strict=True)]
    return {
        "/".join((*(part for part, kept in zip(example, differs, strict=False) if kept), example[-1])): path
        for example, path in files.items()
    }


def by_marks(paths: Sequence[Path]) -> dict[tuple[str, str], list[Path]]:
    """Files by the recurring words before and after the names of their examples, such as ('', '_overlay')."""
    found: dict[tuple[str, str], list[Path]] = {}
    for files in _folders(paths).values():
        marks = _marks([path.stem for path in files])
        for path in files:
            first, _, last = _cut(path.stem, *marks)
            found.setdefault((first, last), []).append(path)
    return {marks: sorted(files) for marks, files in found.items()}


def by_name(root: Path, paths: Sequence[Path]) -> dict[str, list[Path]]:
    """Files whose name says their kind, since there is a directory for each example, by that name."""
    found: dict[str, list[Path]] = {name: [] for name in _constant_names(root, _folders(paths))}
    for path in paths:
        if path.name in found:
            found[path.name].append(path)
    return found


def _folders(paths: Iterable[Path]) -> dict[Path, list[Path]]:
    folders: dict[Path, list[Path]] = {}
    for path in paths:
        folders.setdefault(path.parent, []).append(path)
    return folders


def _constant_names(root: Path, folders: Mapping[Path, Sequence[Path]]) -> set[str]:
    """The names that occur in more directories than these have names: in a directory for each example.

    Directories of splits and roles alone, such as train/images, are none of an example.
    """
    holders: dict[str, list[Path]] = {}
    for folder, paths in folders.items():
        parts = folder.relative_to(root).parts
        if all(SPLIT.search(part) or _has_role(part) for part in parts):
            continue
        for path in paths:
            holders.setdefault(path.name, []).append(folder)
    found = set()
    for name, places in holders.items():
        beside = {path.name for folder in places for path in folders[folder]} if len(places) >= 3 else set()
        # Frames of videos repeat too, and differ by their numbers alone.
        if 0 < len(beside) < len(places) and len({re.sub(r"\d+", "", other) for other in beside}) == len(beside):
            found.add(name)
    return found


def _has_role(word: str) -> bool:
    return Kind(word, {}, False).has(PHOTO, MASK, OTHER, COLORED)


def _marks(stems: Sequence[str]) -> tuple[set[str], set[str]]:
    """The words before and after the names of examples in a directory: those that recur."""
    before = Counter(match[0] for stem in stems if (match := re.match(r"[A-Za-z]+[_\-. ]", stem)))
    after = Counter(match[0] for stem in stems if (match := re.search(r"[_\-. ][A-Za-z]\w*$", stem)))
    enough = max(2, 0.2 * len(stems))
    return {word for word, n in before.items() if n >= enough}, {word for word, n in after.items() if n >= enough}


def _cut(stem: str, before: set[str], after: set[str]) -> tuple[str, str, str]:
    """(mark before, the example's own name, mark after)."""
    first = next((word for word in before if stem.startswith(word)), "")
    last = next((word for word in after if stem.endswith(word) and len(stem) > len(first) + len(word)), "")
    return first, stem[len(first) : len(stem) - len(last)], last


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    """The mean IoU of two masks over the values that occur in them; 0 for other sizes."""
    if one.shape != other.shape:
        return 0.0
    values = np.union1d(one, other)
    if len(values) > kinds.MAX_DISTINCT:
        return 0.0
    return float(np.mean([((one == v) & (other == v)).sum() / ((one == v) | (other == v)).sum() for v in values]))
