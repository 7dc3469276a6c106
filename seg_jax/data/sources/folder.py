"""Photographs and masks in directories, matched by name, or named in list files.

The defaults are SegNet's CamVid layout: `DIR/train/NAME.png` with `DIR/trainannot/NAME.png`. Other layouts are a
directory or a pattern away: `images='images/{split}'`, `masks='masks/{split}/*_mask.png'`, where * is what a
photograph and its mask have in common, and ** any directories in between.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from seg_jax.config import DataConfig, lookup, require
from seg_jax.data.examples import Bad, Examples, check_sizes
from seg_jax.data.images import EXTENSIONS, DataError, read_image, resize_label
from seg_jax.data.labels.builtin import label_table
from seg_jax.data.labels.masks import MaskReader
from seg_jax.data.sampler import held_out

Paths = tuple[Path, Path]  # photograph and mask
Key = tuple[str, ...]  # what the stars of a pattern stand for


def load(data: DataConfig, split: str, *, seed: int) -> Examples:
    """The pairs of one split, in the order of their names.

    Args:
      data: reads `dir`, the directory of the data set; `images` and `masks`, directories or patterns below it;
        `mask_suffix`, what a mask's stem has after the photograph's stem where `masks` is a directory; `list`, the
        pattern of a file with one 'image mask' pair a line, which replaces the search; `val_share`, the share of the
        pairs that is the validation split where none of these names a split; `labels`, see `label_table`;
        `mask_format`, see `masks.FORMATS`; `resize_masks`, whether masks may have another size.
      split: replaces '{split}' in the patterns.
      seed: draws the validation split.

    Raises:
      ConfigError: fields that contradict one another.
      DataError: a directory is missing or empty.
      LabelError: no label table, or a wrong one.
    """
    root = Path(data.dir).expanduser()
    if not root.is_dir():
        raise DataError(f"config.data.dir = {data.dir!r} is not a directory. Pass --config.data.dir=DIR.")
    table = label_table(root, data.labels)
    part = _part(data, split)
    if data.list:
        pairs, bad = _listed(root, data.list.format(split=split))
    else:
        pairs, bad = _matched(root, data, split)
    if part is not None:
        held = held_out(seed, len(pairs), data.val_share)
        pairs = [pair for pair, val in zip(pairs, held, strict=True) if val == part]
        bad = [] if part else bad  # which are to be told once
    reader = MaskReader(table, data.mask_format)

    def read(index: int) -> tuple[np.ndarray, np.ndarray]:
        image_path, mask_path = pairs[index]
        image, label = read_image(image_path), reader.read(mask_path)
        if data.resize_masks and _same_shape(image.shape[:2], label.shape):
            label = resize_label(label, image.shape[:2])
        check_sizes(image, label, image_name=image_path, mask_name=mask_path)
        return image, label

    return Examples(
        split=split,
        names=tuple(f"{_shown(i, root)} + {_shown(m, root)}" for i, m in pairs),
        read=read,
        table=table,
        files=tuple(pairs),
        reading=f"mask_format={data.mask_format}, resize_masks={data.resize_masks}",
        bad=tuple(bad),
    )


def _part(data: DataConfig, split: str) -> bool | None:
    """Whether `split` is the part that is held out of what was found; None where all of it counts."""
    named = "{split}" in (data.list or data.images + data.masks)
    if data.val_share:
        require(
            not named,
            data,
            "data.val_share",
            "a validation split is held out of one set of pairs, but '{split}' in data.images, data.masks or "
            "data.list names one for each split",
            "Use 0.0, or patterns without '{split}'",
        )
        return lookup({data.train_split: False, data.val_split: True}, split, "data.val_split")
    require(
        named or split == data.train_split or split != data.val_split,
        data,
        "data.val_share",
        "without '{split}' in data.images, data.masks or data.list the validation split would be the training split",
        "Use 0.1 to hold a tenth of the pairs out, or '{split}' where directories or lists differ",
    )
    return None


def _same_shape(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Whether two sizes have the same proportions, up to the rounding of one of them."""
    return abs(a[0] * b[1] - a[1] * b[0]) <= max(*a, *b)


@dataclass(frozen=True)
class _Pattern:
    """Where to look for files.

    Attributes:
      base: the directory above the first star.
      rest: what lies below, with stars, of which the last component names files, with or without their extension.
      field: of the configuration, for messages.
    """

    base: Path
    rest: str
    field: str

    @classmethod
    def parse(cls, root: Path, text: str, field: str) -> _Pattern:
        """A pattern, or a directory that stands for all of its files."""
        parts = Path(text).parts
        first = next((i for i, part in enumerate(parts) if "*" in part), len(parts))
        below = parts[first:]
        if not below or below[-1] == "**":
            below = (*below, "*")
        return cls(root.joinpath(*parts[:first]), "/".join(below), field)

    @property
    def stars(self) -> int:
        """How many parts of a path are left open."""
        return len(re.findall(r"\*+", self.rest))

    def fill(self, key: Key) -> Path:
        """The path with `key` for the stars; .png where the pattern has no extension."""
        parts = iter(key)
        name = re.sub(r"\*+/?", lambda star: (next(parts) + star[0].lstrip("*")).lstrip("/"), self.rest)
        return self.base / (name if PurePosixPath(name).suffix.lower() in EXTENSIONS else f"{name}.png")

    def find(self) -> dict[Key, Path]:
        """The image files by what the stars stand for, sorted by path.

        Raises:
          DataError: no such directory, no files, or two of them with the same key.
        """
        if not self.base.is_dir():
            above = self.base.parent
            siblings = sorted(p.name for p in above.glob("*") if p.is_dir())
            there = f" {above} holds: {', '.join(siblings) or 'no directories'}." if above.is_dir() else ""
            raise DataError(
                f"{self.base} is not a directory (config.{self.field}).{there} "
                "Set config.data.images and config.data.masks to your layout; '{split}' stands for the split."
            )
        extension = PurePosixPath(self.rest).suffix.lower()
        wanted = (extension,) if extension in EXTENSIONS else EXTENSIONS
        stem = self.rest[: -len(extension)] if extension in EXTENSIONS else self.rest
        parts = {"**/": "(?:(.*)/)?", "*": "([^/]*)"}
        expression = re.compile("".join(parts.get(part) or re.escape(part) for part in re.split(r"(\*\*/|\*)", stem)))
        found: dict[Key, Path] = {}
        for path in sorted(self.base.rglob("*") if "/" in self.rest else self.base.iterdir()):
            below = path.relative_to(self.base)
            match = expression.fullmatch(below.with_suffix("").as_posix())
            if not match or path.suffix.lower() not in wanted or any(part.startswith(".") for part in below.parts):
                continue
            key = tuple(group or "" for group in match.groups())
            if key in found:
                raise DataError(
                    f"{found[key].relative_to(self.base)} and {below} in {self.base} have the same stem, so it is "
                    "unclear which one to use. Remove or rename one of them."
                )
            found[key] = path
        if not found:
            which = "" if self.rest == "*" else f" that match {self.rest!r}"
            raise DataError(f"{self.base} holds no image files ({', '.join(wanted)}){which}.")
        return found


def _matched(root: Path, data: DataConfig, split: str) -> tuple[list[Paths], list[Bad]]:
    """Photographs and masks for which the stars stand for the same."""
    images = _Pattern.parse(root, data.images.format(split=split), "data.images")
    masks = _Pattern.parse(root, data.masks.format(split=split), "data.masks")
    require(
        not data.mask_suffix or masks.rest == "*",
        data,
        "data.mask_suffix",
        f"data.masks = {data.masks!r} is a pattern, which says it all",
        "Use ''",
    )
    require(
        images.stars == masks.stars,
        data,
        "data.masks",
        f"it has {masks.stars} stars and data.images = {data.images!r} has {images.stars}; what they stand for is how "
        "a photograph finds its mask (a directory counts as one)",
        "Use as many",
    )
    photos, found = images.find(), masks.find()
    suffix = data.mask_suffix
    if suffix and images == _Pattern(masks.base, masks.rest, images.field):  # told apart by the suffix alone
        photos = {key: path for key, path in photos.items() if not key[-1].endswith(suffix)}
        found = {key: path for key, path in found.items() if key not in photos}
    both = set(photos.values()) & set(found.values())
    if both:  # the pattern that leaves less open means them
        require(
            len(images.rest) != len(masks.rest),
            data,
            "data.masks",
            f"it has the same files as data.images = {data.images!r}, such as {min(both)}",
            "Use another directory, or a pattern such as '{split}/*_mask.png'",
        )
        loose = photos if len(images.rest) < len(masks.rest) else found
        for key in [key for key, path in loose.items() if path in both]:
            del loose[key]
    pairs, bad, used = [], [], set()
    for key, photo in photos.items():
        wanted = (*key[:-1], key[-1] + suffix)
        if wanted in found:
            pairs.append((photo, found[wanted]))
            used.add(wanted)
        else:
            bad.append(Bad(str(photo), f"has no mask {masks.fill(wanted)}"))
    bad += [
        Bad(str(path), f"is a mask without a photograph in {images.base}")
        for key, path in found.items()
        if key not in used
    ]
    return pairs, bad


def _listed(root: Path, name: str) -> tuple[list[Paths], list[Bad]]:
    """Pairs from a list file: two paths a line, separated by a tab, a comma or spaces."""
    path = root / name
    if not path.is_file():
        raise DataError(f"config.data.list: there is no list file {path}.")
    pairs, bad = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        separator = "\t" if "\t" in line else "," if "," in line else None
        parts = [part.strip() for part in line.split(separator) if part.strip()]
        if len(parts) != 2:
            raise DataError(f"{path}, line {number}: {line!r} is not 'image mask'; separate two paths by a tab.")
        image, mask = (_below(root, part) for part in parts)
        missing = [str(p) for p in (image, mask) if not p.is_file()]
        if missing:
            bad.append(Bad(f"{path}, line {number}", f"names a file that does not exist: {', '.join(missing)}"))
        else:
            pairs.append((image, mask))
    if not pairs and not bad:
        raise DataError(f"{path} lists no pairs.")
    return pairs, bad


def _below(root: Path, listed: str) -> Path:
    """A listed path: as it is, or below `root`; SegNet's own lists start with '/SegNet/CamVid/'."""
    path = Path(listed)
    if path.is_absolute() and path.is_file():
        return path
    for parts in (path.parts[1:] if path.is_absolute() else path.parts, path.parts[-2:]):
        if root.joinpath(*parts).is_file():
            return root.joinpath(*parts)
    return root / path.relative_to(path.anchor)


def _shown(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
