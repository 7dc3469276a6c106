"""Which of an example's files is the photograph and which the mask, where each example has several.

Overlays, predictions, heights, other bands and other annotators' masks are beside them in many data sets. Files of one
kind share their directories and the words around the example's own name; kinds of the same examples are ranked.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from seg_jax.curate import kinds
from seg_jax.curate.layout import SPLIT
from seg_jax.data.images import DataError, read_stored

PHOTO = re.compile(
    r"^(images?|imgs?|jpegimages|photos?|photographs?|rgb|pictures?|pics?|inputs?|originals?|frames?|sat)$"
)
MASK = re.compile(r"^(masks?|labels?|gt|groundtruth|truth|annot\w*|seg\w*|trimaps?|targets?|manual|semantic|classes)$")
# What is made from photographs and masks, and other measurements of the same place.
OTHER = re.compile(
    r"^(overlays?|viz|vis|visuali[sz]\w*|blend\w*|pred\w*|results?|outputs?|previews?|thumb\w*|depths?|disp\w*|heights?|"
    r"dsm|dem|dtm|ndsm|elevation|nir|ir|infrared|thermal|lwir|edges?|bound\w*|contours?|instances?|inst|panoptic|weights?|"
    r"conf\w*|prob\w*|uncertain\w*|fov|roi|skeletons?|heatmaps?|normals?|flow)$"
)
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
        sample = [paths[i] for i in np.unique(np.linspace(0, len(paths) - 1, min(8, len(paths))).astype(int))]
        try:
            first, *others = (kinds.color_codes(read_stored(path).pixels) for path in sample)
        except DataError:
            return False
        return bool(others) and all(_overlap(first, other) > 0.95 for other in others)

    @property
    def bands(self) -> int:
        """2 for bytes in colour, 1 for one band of bytes, 0 for 16 bits, floats and files that cannot be opened."""
        return 2 if self.mode in ("RGB", "RGBA", "CMYK", "YCbCr") else int(self.mode in ("L", "LA", "P", "1"))

    def rank(self) -> tuple[int, ...]:
        """The higher, the likelier it is what it looks like."""
        if self.mask:
            return -self.constant, -self.has(OTHER), self.has(MASK), -self.has(COLORED), -(self.bands == 2)
        return -self.has(OTHER, MASK), self.bands, self.has(PHOTO)


def choose(
    root: Path, photos: Sequence[Path], labels: Sequence[Path], *, images: str = "", masks: str = ""
) -> tuple[list[Path], list[Path], list[str]]:
    """(photographs, masks, notes): without the files of kinds that others surpass.

    Args:
      root: directory of the data set.
      photos, labels: the files that look like photographs and like masks.
      images, masks: patterns of the kinds that the user has chosen; '' for none.

    Raises:
      DataError: a pattern has no file, or two kinds of the same examples rank alike, so that somebody has to choose.
    """
    every = [*photos, *labels]
    chosen = [_chosen(root, every, images, "--images"), _chosen(root, every, masks, "--masks")]
    taken = {path for paths in chosen for path in paths}
    rest = [[path for path in paths if path not in taken] for paths in (photos, labels)]
    found = [_kinds(root, paths or rest[mask], mask=bool(mask)) for mask, paths in enumerate(chosen)]
    notes: list[str] = []
    results: list[list[Path]] = []
    for role, these, others, pattern in zip(("photographs", "masks"), found, found[::-1], (images, masks), strict=True):
        examples = len({example for kind in others for example in kind.files})
        kept = these if pattern else _kept(these, examples)
        if len(kept) < len(these):
            notes += [f"  {role:<11}  {_line(kind)}{'' if kind in kept else '; not used'}" for kind in these]
        results.append(sorted(path for kind in kept for path in kind.files.values()))
    return results[0], results[1], ["examples have several files:", *notes] if notes else []


def _chosen(root: Path, paths: Iterable[Path], pattern: str, option: str) -> list[Path]:
    if not pattern:
        return []
    spelled = pattern.replace("{split}", "*").replace("**/", "*")
    files = [path for path in paths if fnmatchcase(path.relative_to(root).as_posix(), spelled)]
    if not files:
        raise DataError(
            f"{option}={pattern}: no image file below {root} matches it. Use a pattern such as 'images/*.png'."
        )
    return sorted(files)


def _kept(found: Sequence[Kind], counterparts: int) -> list[Kind]:
    """The kinds that no other kind of the same examples surpasses.

    Raises:
      DataError: two of them rank alike, and there are too few files of the other role for both.
    """
    kept: list[Kind] = []
    for kind in sorted(found, key=lambda kind: kind.rank(), reverse=True):
        rivals = [other for other in kept if _same_examples(kind, other)]
        if any(other.rank() > kind.rank() for other in rivals):
            continue
        told = [other for other in rivals if other.has(PHOTO, MASK, OTHER) or _directory(other) == _directory(kind)]
        if told and counterparts <= 0.75 * sum(len(k.files) for k in (*told, kind)):
            role, option = ("mask", "--masks") if kind.mask else ("photograph", "--images")
            rows = "\n".join(f"  {option}='{k.pattern}'  {_line(k)}" for k in (*told, kind))
            raise DataError(
                f"each example has {len(told) + 1} files that may be its {role}:\n{rows}\nChoose one of them."
            )
        kept.append(kind)
    return [kind for kind in found if kind in kept]


def _directory(kind: Kind) -> str:
    return kind.pattern.rpartition("/")[0]


def _same_examples(one: Kind, other: Kind) -> bool:
    return 2 * len(one.files.keys() & other.files.keys()) >= min(len(one.files), len(other.files))


def _line(kind: Kind) -> str:
    forms = {"RGB": "colours", "RGBA": "colours and alpha", "L": "one band", "P": "a palette", "1": "one bit"}
    same = ", (nearly) the same in all files" if kind.mask and kind.constant else ""
    return f"{kind.pattern}: {len(kind.files)} files, {forms.get(kind.mode, kind.mode or 'unreadable')}{same}"


def _kinds(root: Path, paths: Sequence[Path], *, mask: bool) -> list[Kind]:
    """The kinds of files, each with the examples that its files belong to."""
    names: dict[str, set[Path]] = {}
    for path in paths:
        names.setdefault(path.name, set()).add(path.parent)
    beside: dict[Path, list[Path]] = {}
    for path in paths:
        beside.setdefault(path.parent, []).append(path)
    marks = {directory: _marks([path.stem for path in files]) for directory, files in beside.items()}
    found: dict[tuple[str, str, int], dict[tuple[str, ...], Path]] = {}
    bands: dict[tuple[Path, str], int] = {}  # those of the first file with this mark stand for all
    for path in paths:
        parts = path.relative_to(root).parent.parts
        words = [SPLIT.sub("{split}", part, count=1) for part in parts]
        words = [word if "{split}" in word or _has_role(word) else "*" for word in words]
        example = [part for part, word in zip(parts, words, strict=True) if "*" in word or "{split}" in word]
        holders = names[path.name]
        if len(holders) >= 3 and len({p.name for d in holders for p in beside[d]}) < len(holders):
            stem, core = path.stem, ""  # a directory for each example: the name says the kind
        else:
            before, core, after = _cut(path.stem, *marks[path.parent])
            stem = f"{before}*{after}"
        if (group := (path.parent, stem)) not in bands:
            bands[group] = Kind("", {"": path}, mask).bands
        found.setdefault(("/".join(words), stem + path.suffix, bands[group]), {})[*example, core] = path
    result = []
    for (folder, name, _), files in found.items():
        places = {path.parent.relative_to(root).as_posix() for path in files.values()}
        folder = places.pop() if len(places) == 1 else folder
        result.append(Kind(name if folder in ("", ".") else f"{folder}/{name}", _own_names(files), mask))
    return result


def _own_names(files: Mapping[tuple[str, ...], Path]) -> dict[str, Path]:
    """Examples without the directories that are the same for all of a kind: those tell no example from another."""
    differs = [len(set(column)) > 1 for column in zip(*(example[:-1] for example in files), strict=True)]
    return {
        "/".join((*(part for part, kept in zip(example, differs, strict=False) if kept), example[-1])): path
        for example, path in files.items()
    }


def by_marks(folders: Mapping[Path, Sequence[Path]]) -> dict[tuple[str, str], list[Path]]:
    """Files by the recurring words before and after the names of their examples, such as ('', '_overlay')."""
    found: dict[tuple[str, str], list[Path]] = {}
    for paths in folders.values():
        marks = _marks([path.stem for path in paths])
        for path in paths:
            first, _, last = _cut(path.stem, *marks)
            found.setdefault((first, last), []).append(path)
    return {marks: sorted(paths) for marks, paths in found.items()}


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
