"""The layout of a directory: how the photographs and masks in it belong together.

The answer has the form of the source `folder`: two patterns, in which '{split}' and stars stand for what differs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from seg_jax.curate.kinds import common_prefix
from seg_jax.data.images import EXTENSIONS
from seg_jax.data.sources.patterns import SPLIT, loose, walk

Paths = tuple[Path, Path]
Key = tuple[str, str]  # the directories that ** stands for, and the stem
Affixes = tuple[str, str, str, str]  # prefix and suffix of photographs, prefix and suffix of masks


@dataclass(frozen=True)
class Layout:
    """Photographs and masks that belong together.

    Attributes:
      images, masks: patterns below the directory, for `data.images` and `data.masks`.
      pairs: split -> its pairs; '' is the only split if the patterns have no '{split}'.
    """

    images: str
    masks: str
    pairs: Mapping[str, Sequence[Paths]]

    def __len__(self) -> int:
        return sum(map(len, self.pairs.values()))


@dataclass(frozen=True)
class View:
    """One way to group the photographs or the masks: a directory pattern, and the files of each split by name."""

    pattern: str
    files: Mapping[str, Mapping[Key, Path]]


def image_files(root: Path) -> list[Path]:
    """The files below `root` with the extension of an image, sorted, without hidden ones."""
    paths = [path for path in walk(root) if not any(part.startswith(".") for part in path.relative_to(root).parts)]
    links = {path.resolve(): path for path in paths if path.is_symlink() and path.is_dir()}
    # Of a link to a directory elsewhere in `root` the link says to what it belongs.
    links = {real: link for real, link in links.items() if real.is_relative_to(root) and real.parent != link.parent}
    files = [path for path in paths if path.suffix.lower() in EXTENSIONS and path.is_file()]
    for real, link in links.items():
        files = [link / path.relative_to(real) if path.is_relative_to(real) else path for path in files]
    return sorted(files)


def find(root: Path, photos: Sequence[Path], masks: Sequence[Path]) -> Layout | None:
    """The layout that pairs most photographs with masks; None if none pairs any."""
    views = [(one, other) for one in _views(root, photos) for other in _views(root, masks)]
    found = [layout for one, other in views if (layout := _matched(one, other))]
    if max(map(len, found), default=0) < min(len(photos), len(masks)):  # names may be spelled otherwise
        found += [layout for one, other in views if (layout := _matched(one, other, spelled_otherwise=True))]

    def rank(layout: Layout) -> tuple[int, int, int, int]:
        # Ties go to fewer unpaired files, then to more splits, then to shorter patterns.
        unpaired = len(photos) + len(masks) - 2 * len(layout)
        return -len(layout), unpaired, -len(layout.pairs), len(layout.images) + len(layout.masks)

    return min(found, key=rank, default=None)


def matches(layout: Layout, others: Collection[Path]) -> bool:
    """Whether the patterns of a layout also match some of other image files, which are not in its pairs."""
    pairs = [pair for part in layout.pairs.values() for pair in part]
    for role, text in enumerate((layout.images, layout.masks)):
        folders = {pair[role].parent for pair in pairs}
        name = Path(text).name if "*" in text else "*"
        whole = Path(name).suffix in EXTENSIONS
        if any(path.parent in folders and fnmatchcase(path.name if whole else path.stem, name) for path in others):
            return True
    return False


def _matched(one: View, other: View, *, spelled_otherwise: bool = False) -> Layout | None:
    """The layout that two views have in common; None if less than half of the smaller one finds counterparts."""
    splits = [split for split in one.files if split in other.files]
    if spelled_otherwise:
        one, other = _loose(one), _loose(other)
    a = {(split, *key): path for split in splits for key, path in one.files[split].items()}
    b = {(split, *key): path for split in splits for key, path in other.files[split].items()}
    affixes = _affixes({(f"{s}/{d}", stem) for s, d, stem in a}, {(f"{s}/{d}", stem) for s, d, stem in b})
    pairs = {split: _pairs(one.files[split], other.files[split], affixes) for split in splits}
    count = sum(map(len, pairs.values()))
    if not count or 2 * count < min(len(a), len(b)):  # others match by chance
        return None
    if spelled_otherwise:
        written = _as_written(affixes[:2], a.values()), _as_written(affixes[2:], b.values())
        if written[0] is None or written[1] is None:
            return None
        affixes = (*written[0], *written[1])
    shared = {path.parent for path in a.values()} & {path.parent for path in b.values()}
    return Layout(
        images=_pattern(one.pattern, affixes[:2], a.values(), shared),
        masks=_pattern(other.pattern, affixes[2:], b.values(), shared),
        pairs={split: part for split, part in pairs.items() if part},
    )


def _loose(view: View) -> View:
    """The view by names in their loose form, with directories as part of them; without names that are not unique."""
    files: dict[str, dict[Key, Path]] = {}
    for split, by_name in view.files.items():
        spelled = Counter(map(loose, by_name))
        files[split] = {("", loose(key)): path for key, path in by_name.items() if spelled[loose(key)] == 1}
    return View(view.pattern, files)


def _as_written(affixes: tuple[str, str], files: Iterable[Path]) -> tuple[str, str] | None:
    """A prefix and a suffix of loose names as the files have them; None if they have several."""
    before = {path.stem[: len(affixes[0])] for path in files}
    after = {path.stem[len(path.stem) - len(affixes[1]) :] for path in files}
    if any(re.search(r"\d", text) for text in affixes) or len(before) > 1 or len(after) > 1:
        return None
    return before.pop(), after.pop()


def _views(root: Path, paths: Sequence[Path]) -> list[View]:
    """Each directory on its own, directories that differ only in the split as one, and all of them together."""
    directories: dict[str, dict[str, list[Path]]] = {}
    for path in paths:
        directory = path.parent.relative_to(root).as_posix()
        template = SPLIT.sub("{split}", directory, count=1)
        split = match[0] if (match := SPLIT.search(directory)) else ""
        directories.setdefault(template, {}).setdefault(split, []).append(path)
    # Sequences of the splits differ: train/seq1 and val/seq9 are both of the part '{split}' at the same depth.
    parts = {template: _part_of_split(template) for template in directories}
    trained = {
        parts[template]
        for template, splits in directories.items()
        if any(split.lower().startswith("train") for split in splits)
    }
    for template, splits in list(directories.items()):
        if parts[template] not in trained:  # 'test' is part of another name
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


def _part_of_split(template: str) -> tuple[int, str]:
    """(depth, text) of the part of a directory that has '{split}'; (-1, '') without one."""
    found = [(depth, part) for depth, part in enumerate(PurePosixPath(template).parts) if "{split}" in part]
    return found[0] if found else (-1, "")


def _together(root: Path, directories: Mapping[str, Mapping[str, Sequence[Path]]]) -> list[View]:
    """Directories below a common one as one view, with ** for the directories in between."""
    parts = [PurePosixPath(template).parts for template in directories]
    head = common_prefix(parts)
    rest = [part[len(head) :] for part in parts]
    tail = common_prefix([part[::-1] for part in rest])[::-1]
    files: dict[str, dict[Key, Path]] = {}
    for part, splits in zip(rest, directories.values(), strict=True):
        middle = "/".join(part[: len(part) - len(tail)])
        if "{split}" in middle:
            return []
        for split, paths in splits.items():
            files.setdefault(split, {}).update({(middle, path.stem): path for path in paths})
    return [View("/".join((*head, "**", *tail)), files)]


def _affixes(photos: set[Key], masks: set[Key]) -> Affixes:
    """The prefixes and suffixes around the common part of the names of photographs and masks."""
    alone = ({name for _, name in photos}, {name for _, name in masks})
    if (
        len(photos) > 1 and all(len(names) == 1 for names in alone) and alone[0] != alone[1]
    ):  # one directory for each example
        return alone[0].pop(), "", alone[1].pop(), ""
    candidates: dict[Affixes, None] = {("", "", "", ""): None}
    for directory, name in sorted(photos)[:2]:
        beside = sorted(other for place, other in masks if place == directory)[:500]
        matcher = SequenceMatcher(None, b=name, autojunk=False)
        blocks = []
        for other in beside:
            matcher.set_seq1(other)
            block = matcher.find_longest_match()
            if block.size:
                blocks.append((-block.size, other, block.b, block.a))
        for size, other, i, j in sorted(blocks)[:4]:
            common = name[i : i - size]
            core = common.strip("_-. ") or common  # separators belong to the affixes
            i, j = i + common.index(core), j + common.index(core)
            candidates[name[:i], name[i + len(core) :], other[:j], other[j + len(core) :]] = None
        if len(beside) == 1 and len({place for place, _ in masks}) > 1:  # one directory for each example
            candidates[name, "", beside[0], ""] = None

    def matched(affixes: Affixes) -> int:
        twins = ((directory, _twin(name, affixes)) for directory, name in photos)
        return sum(twin in masks for twin in twins if twin[1] is not None)

    return max(candidates, key=lambda affixes: (matched(affixes), -sum(map(len, affixes))))


def _twin(name: str, affixes: Affixes) -> str | None:
    """The name of a photograph's mask; None if the photograph's name does not have the affixes."""
    before, after, mask_before, mask_after = affixes
    if len(name) < len(before) + len(after) or not (name.startswith(before) and name.endswith(after)):
        return None
    return mask_before + name[len(before) : len(name) - len(after)] + mask_after


def _pairs(photos: Mapping[Key, Path], masks: Mapping[Key, Path], affixes: Affixes) -> list[Paths]:
    twins = ((path, (directory, _twin(name, affixes) or "")) for (directory, name), path in photos.items())
    return [(path, masks[twin]) for path, twin in twins if twin in masks]


def _pattern(directory: str, affixes: tuple[str, str], files: Collection[Path], shared: set[Path]) -> str:
    """A directory if all of its files are meant, otherwise a pattern."""
    directory = "" if directory == "." else directory
    name = "*".join(affixes)
    if "**" in directory and all(path.stem == "".join(affixes) for path in files):
        name = "".join(affixes)  # one directory for each example, in which every file has a name of its own
    extensions = {path.suffix for path in files}
    if any(path.parent in shared for path in files) and len(extensions) == 1:
        name += extensions.pop()
    if name == "*" and directory and "**" not in directory:
        return directory
    return f"{directory}/{name}" if directory else name
