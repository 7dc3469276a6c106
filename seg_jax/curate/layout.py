"""What lies in a directory: which files are photographs, which are masks, and how they find one another.

The answer is in the terms of the source `folder`: two patterns, in which '{split}' and stars stand for what differs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from seg_jax.data.images import EXTENSIONS, DataError, read_stored

SPLIT = re.compile(r"(?<![a-z])(train(?:ing|val)?|val(?:id(?:ation)?)?|test(?:ing)?)", re.IGNORECASE)
FEW = 64  # a mask has at most so many values or colours, and a photograph more
LOSSY = (".jpg", ".jpeg")
PIXELS = 1 << 18  # of damaged masks that are compared with colours
LOOKED_AT = 120  # files that are decoded to tell photographs from masks

Paths = tuple[Path, Path]
Key = tuple[str, str]  # directories where the pattern has **, and the stem
Affixes = tuple[str, str, str, str]  # before and after what is common, in photographs and in masks


@dataclass(frozen=True)
class Layout:
    """Photographs and masks that belong together.

    Attributes:
      images, masks: patterns below the directory, for `data.images` and `data.masks`.
      pairs: split -> its pairs; the only split is '' where the patterns name none.
    """

    images: str
    masks: str
    pairs: Mapping[str, Sequence[Paths]]

    def __len__(self) -> int:
        return sum(map(len, self.pairs.values()))


@dataclass(frozen=True)
class View:
    """One way to see the files of a kind: a directory pattern, and what the files of each split are called."""

    pattern: str
    files: Mapping[str, Mapping[Key, Path]]


def image_files(root: Path) -> list[Path]:
    """The files below `root` with the extension of an image, sorted; hidden ones are passed over."""
    found = (path for path in root.rglob("*") if path.suffix.lower() in EXTENSIONS)
    return sorted(p for p in found if p.is_file() and not any(x.startswith(".") for x in p.relative_to(root).parts))


def is_mask(path: Path) -> bool:
    """Whether a file looks like a mask: few values or colours, or JPEG's blur around few colours.

    Raises:
      DataError: it cannot be read.
    """
    try:
        pixels = read_stored(path).pixels
    except DataError as error:
        if "is not an image" in str(error) or "cannot be read" in str(error):
            raise
        return False  # CMYK and the like
    if distinct(pixels) <= FEW:
        return True
    return path.suffix.lower() in LOSSY and peaks([pixels]) is not None


def distinct(pixels: np.ndarray) -> int:
    """How many values [h w] or colours [h w 3] there are."""
    return len(np.unique(codes(pixels)))


def codes(pixels: np.ndarray) -> np.ndarray:
    """Values [h w] as they are, colours [h w 3] as red * 65536 + green * 256 + blue, [h w]."""
    return pixels if pixels.ndim == 2 else pixels.astype(np.int32) @ np.array([65536, 256, 1], np.int32)


def peaks(masks: Iterable[np.ndarray]) -> list[tuple[int, int, int]] | None:
    """The few colours around which the pixels of damaged masks lie, the most frequent first; None if there are none.

    Args:
      masks: values uint8 [h w], taken for grey, or colours uint8 [h w 3].
    """
    parts = [np.repeat(m[..., None], 3, -1) if m.ndim == 2 else m for m in masks if m.dtype == np.uint8]
    empty = np.zeros((0, 3), np.uint8)
    pixels = np.concatenate([part.reshape(-1, 3) for part in parts] or [empty])
    pixels = pixels[:: max(1, len(pixels) // PIXELS)].astype(np.int32)
    found, counts = np.unique(
        np.concatenate([codes(part)[_flat(part)] for part in parts] or [np.zeros(0, np.int32)]), return_counts=True
    )
    often = counts >= 0.005 * counts.sum()
    taken: list[tuple[int, int, int]] = []
    for code in found[often][np.argsort(-counts[often], kind="stable")].tolist():
        color = code >> 16, code >> 8 & 255, code & 255
        if all(max(abs(a - b) for a, b in zip(color, other, strict=True)) > 40 for other in taken):
            taken.append(color)
    if not 2 <= len(taken) <= FEW:
        return None
    nearest = np.min([np.square(pixels - color).sum(-1) for color in taken], axis=0)
    return taken if np.sqrt(nearest).mean() < 8 else None


def _flat(pixels: np.ndarray) -> np.ndarray:
    """Where the colour is about that of the pixels beside it, which along borders it is not, bool [h w]."""
    flat = np.ones(pixels.shape[:2], bool)
    for axis in (0, 1):
        near = np.abs(np.diff(pixels.astype(np.int16), axis=axis)).max(axis=-1) <= 16
        first, last = [(0, 0), (0, 0)], [(0, 0), (0, 0)]
        first[axis], last[axis] = (1, 0), (0, 1)
        flat &= np.pad(near, first, constant_values=True) & np.pad(near, last, constant_values=True)
    return flat


def tell_apart(root: Path, files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """(photographs, masks) among image files, told from a sample of each directory and extension."""
    groups: dict[tuple[Path, str], list[Path]] = {}
    for path in files:
        groups.setdefault((path.parent, path.suffix.lower()), []).append(path)
    photos: list[Path] = []
    masks: list[Path] = []
    for group in groups.values():
        count = max(3, min(12, LOOKED_AT // len(groups)))
        spread = [group[i] for i in np.linspace(0, len(group) - 1, min(4, len(group))).astype(int)]
        sample = dict.fromkeys([*group[:count], *spread])
        told = {path: told for path in sample if (told := _is_mask(path)) is not None}
        share = sum(told.values()) / max(len(told), 1)
        if share >= 0.8 or share <= 0.2:
            (masks if share >= 0.8 else photos).extend(group)
            continue
        mark = _mark([p.stem for p in told if told[p]], [p.stem for p in told if not told[p]])
        for path in group:
            (masks if mark is not None and mark.search(path.stem) else photos).append(path)
    return sorted(photos), sorted(masks)


def _is_mask(path: Path) -> bool | None:
    try:
        return is_mask(path)
    except DataError:
        return None


def _mark(masks: Sequence[str], photos: Sequence[str]) -> re.Pattern | None:
    """What the names of masks end or begin with, and those of photographs do not."""
    end, begin = _shared([name[::-1] for name in masks])[::-1], _shared(masks)
    ends = [end[i:] for i in range(len(end))]
    begins = [begin[: i + 1] for i in range(len(begin))]
    # One that stands apart from the rest of the name first: '_mask' rather than '1_mask'.
    for text in sorted(ends, key=lambda text: (not re.match(r"[^A-Za-z0-9][A-Za-z]", text), -len(text))):
        if not any(name.endswith(text) for name in photos):
            return re.compile(re.escape(text) + "$")
    for text in sorted(begins, key=lambda text: (not re.match(r".*[A-Za-z][^A-Za-z0-9]$", text), -len(text))):
        if not any(name.startswith(text) for name in photos):
            return re.compile("^" + re.escape(text))
    return None


def _shared(sequences: Sequence[Any]) -> Any:
    """What strings, or tuples, all begin with."""
    differing = (i for i, items in enumerate(zip(*sequences, strict=False)) if len(set(items)) > 1)
    return sequences[0][: next(differing, min(map(len, sequences)))]


def find(root: Path, photos: Sequence[Path], masks: Sequence[Path]) -> Layout | None:
    """The layout in which most photographs find their masks; None if none of them does."""
    found: list[tuple[int, int, int, Layout]] = []
    for one in _views(root, photos):
        for other in _views(root, masks):
            splits = [split for split in one.files if split in other.files]
            a = {(split, *key): path for split in splits for key, path in one.files[split].items()}
            b = {(split, *key): path for split in splits for key, path in other.files[split].items()}
            affixes = _affixes({(f"{s}/{d}", stem) for s, d, stem in a}, {(f"{s}/{d}", stem) for s, d, stem in b})
            pairs = {split: _pairs(one.files[split], other.files[split], affixes) for split in splits}
            shared = {path.parent for path in a.values()} & {path.parent for path in b.values()}
            layout = Layout(
                images=_pattern(one.pattern, affixes[:2], a.values(), shared),
                masks=_pattern(other.pattern, affixes[2:], b.values(), shared),
                pairs={split: part for split, part in pairs.items() if part},
            )
            # Of equal ones that which leaves fewer files over, then the one with splits, then the simpler one.
            over = len(photos) + len(masks) - 2 * len(layout)
            if len(layout) and 2 * len(layout) >= min(len(a), len(b)):  # others match by chance
                found.append((-len(layout), over, -len(layout.pairs), layout))
    return min(found, key=lambda item: (*item[:3], len(item[3].images) + len(item[3].masks)))[3] if found else None


def _views(root: Path, paths: Sequence[Path]) -> list[View]:
    """Each directory for itself, those that differ in the split as one, and all of them together."""
    directories: dict[str, dict[str, list[Path]]] = {}
    for path in paths:
        place = path.parent.relative_to(root).as_posix()
        template = SPLIT.sub("{split}", place, count=1)
        split = match[0] if (match := SPLIT.search(place)) else ""
        directories.setdefault(template, {}).setdefault(split, []).append(path)
    for template, splits in list(directories.items()):
        if not any(split.lower().startswith("train") for split in splits):  # the name of something else
            del directories[template]
            for split, files in splits.items():
                directories.setdefault(template.replace("{split}", split), {})[""] = files
    views = [
        View(template, {split: {("", path.stem): path for path in files} for split, files in splits.items()})
        for template, splits in directories.items()
    ]
    if len(views) <= 1:
        return views
    return [*views[:16], *_together(root, directories)]


def _together(root: Path, directories: Mapping[str, Mapping[str, Sequence[Path]]]) -> list[View]:
    """Directories below a common one as one view, which has ** for what lies between."""
    parts = [PurePosixPath(template).parts for template in directories]
    head = _shared(parts)
    rest = [part[len(head) :] for part in parts]
    tail = _shared([part[::-1] for part in rest])[::-1]
    files: dict[str, dict[Key, Path]] = {}
    for part, splits in zip(rest, directories.values(), strict=True):
        middle = "/".join(part[: len(part) - len(tail)])
        if "{split}" in middle:
            return []
        for split, paths in splits.items():
            files.setdefault(split, {}).update({(middle, path.stem): path for path in paths})
    return [View("/".join((*head, "**", *tail)), files)]


def _affixes(photos: set[Key], masks: set[Key]) -> Affixes:
    """What the names of photographs and masks have around their common part."""
    candidates: dict[Affixes, None] = {("", "", "", ""): None}
    for place, name in sorted(photos)[:2]:
        beside = sorted(other for there, other in masks if there == place)[:500]
        matcher = SequenceMatcher(None, b=name, autojunk=False)
        blocks = []
        for other in beside:
            matcher.set_seq1(other)
            block = matcher.find_longest_match()
            if block.size:
                blocks.append((-block.size, other, block.b, block.a))
        for size, other, i, j in sorted(blocks)[:4]:
            common = name[i : i - size]
            core = common.strip("_-. ") or common  # what separates it goes with what differs
            i, j = i + common.index(core), j + common.index(core)
            candidates[name[:i], name[i + len(core) :], other[:j], other[j + len(core) :]] = None
        if len(beside) == 1 and len({there for there, _ in masks}) > 1:  # of a directory for every example
            candidates[name, "", beside[0], ""] = None

    def matched(affixes: Affixes) -> int:
        return sum((place, twin) in masks for place, name in photos if (twin := _twin(name, affixes)) is not None)

    return max(candidates, key=lambda affixes: (matched(affixes), -sum(map(len, affixes))))


def _twin(name: str, affixes: Affixes) -> str | None:
    """What the mask of a photograph is called."""
    before, after, mask_before, mask_after = affixes
    if len(name) < len(before) + len(after) or not (name.startswith(before) and name.endswith(after)):
        return None
    return mask_before + name[len(before) : len(name) - len(after)] + mask_after


def _pairs(photos: Mapping[Key, Path], masks: Mapping[Key, Path], affixes: Affixes) -> list[Paths]:
    twins = ((path, (place, _twin(name, affixes) or "")) for (place, name), path in photos.items())
    return [(path, masks[twin]) for path, twin in twins if twin in masks]


def _pattern(directory: str, affixes: tuple[str, str], files: Iterable[Path], shared: set[Path]) -> str:
    """A directory, or a pattern where only some of its files are meant."""
    directory = "" if directory == "." else directory
    name = "*".join(affixes)
    extensions = {path.suffix for path in files}
    if any(path.parent in shared for path in files) and len(extensions) == 1:
        name += extensions.pop()
    if name == "*" and directory and "**" not in directory:
        return directory
    return f"{directory}/{name}" if directory else name
