"""Photographs and masks in directories, matched by file stem, or named in list files.

The defaults are SegNet's CamVid layout: `DIR/train/NAME.png` with `DIR/trainannot/NAME.png`. Other
layouts are one pattern away: `images='images/{split}'`, `masks='masks/{split}'`, `mask_suffix='_mask'`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from seg_jax.config import Config
from seg_jax.data.examples import Bad, Examples
from seg_jax.data.images import EXTENSIONS, DataError, read_image, read_mask
from seg_jax.data.labels import TABLES, LabelError, LabelTable


def load(data: Config, split: str, *, seed: int) -> Examples:
    """The pairs of one split, in the order of their names.

    Args:
      data: reads `dir`, the directory of the data set; `images` and `masks`, patterns of directories below it;
        `mask_suffix`, what a mask's stem has after the photograph's stem; `list`, the pattern of a file with one
        'image mask' pair a line, which replaces the search; `labels`, the name of a built-in label table, the
        path of a `class_names.json`, or '' for `dir/class_names.json`.
      split: replaces '{split}' in the patterns.
      seed: unused; nothing is drawn here.

    Raises:
      DataError: a directory is missing or empty.
      LabelError: no label table, or a wrong one.
    """
    del seed
    root = Path(data.dir).expanduser()
    if not root.is_dir():
        raise DataError(f"config.data.dir = {data.dir!r} is not a directory. Pass --config.data.dir=DIR.")
    table = label_table(root, data.labels)
    if data.list:
        pairs, bad = _listed(root, data.list.format(split=split))
    else:
        pairs, bad = _matched(
            root / data.images.format(split=split), root / data.masks.format(split=split), data.mask_suffix
        )

    def read(index: int) -> tuple[np.ndarray, np.ndarray]:
        image_path, mask_path = pairs[index]
        image, mask = read_image(image_path), read_mask(mask_path)
        if image.shape[:2] != mask.shape:
            raise DataError(
                f"{image_path} has {image.shape[0]}x{image.shape[1]} pixels (height x width) but its mask "
                f"{mask_path} has {mask.shape[0]}x{mask.shape[1]}; they must agree."
            )
        try:
            return image, table.encode(mask)
        except LabelError as error:
            raise LabelError(f"{mask_path}: {error}") from error

    return Examples(
        split=split,
        names=tuple(f"{_shown(i, root)} + {_shown(m, root)}" for i, m in pairs),
        read=read,
        table=table,
        files=tuple(pairs),
        bad=tuple(bad),
    )


def label_table(root: Path, labels: str) -> LabelTable:
    """The table that `data.labels` names; see `load`."""
    if labels in TABLES:
        return TABLES[labels]
    path = Path(labels) if labels else root / "class_names.json"
    if not path.is_file():
        raise LabelError(
            f"config.data.labels = {labels!r}: there is no {path}. Name a built-in table "
            f"({', '.join(sorted(TABLES))}), or write a class_names.json such as "
            '["background", "road", "car"], whose order gives the mask values 0, 1, 2.'
        )
    return LabelTable.load(path)


def _matched(image_dir: Path, mask_dir: Path, mask_suffix: str) -> tuple[list[tuple[Path, Path]], list[Bad]]:
    photos, masks = _by_stem(image_dir, "data.images"), _by_stem(mask_dir, "data.masks")
    if mask_suffix and image_dir == mask_dir:  # told apart by the suffix alone
        photos = {stem: path for stem, path in photos.items() if not stem.endswith(mask_suffix)}
        masks = {stem: path for stem, path in masks.items() if stem not in photos}
    pairs, bad, used = [], [], set()
    for stem, photo in photos.items():
        mask = masks.get(stem + mask_suffix)
        if mask is None:
            bad.append(Bad(str(photo), f"has no mask {mask_dir / (stem + mask_suffix)}.png"))
        else:
            pairs.append((photo, mask))
            used.add(stem + mask_suffix)
    bad += [
        Bad(str(path), f"is a mask without a photograph in {image_dir}")
        for stem, path in masks.items()
        if stem not in used
    ]
    return pairs, bad


def _by_stem(directory: Path, field: str) -> dict[str, Path]:
    """Image files of a directory by stem, sorted by name."""
    if not directory.is_dir():
        siblings = sorted(p.name for p in directory.parent.glob("*") if p.is_dir())
        there = (
            f" {directory.parent} holds: {', '.join(siblings) or 'no directories'}."
            if directory.parent.is_dir()
            else ""
        )
        raise DataError(
            f"{directory} is not a directory (config.{field}).{there} "
            "Set config.data.images and config.data.masks to your layout; '{split}' stands for the split."
        )
    found: dict[str, Path] = {}
    for path in sorted(directory.iterdir()):
        if path.suffix.lower() in EXTENSIONS and not path.name.startswith("."):
            if path.stem in found:
                raise DataError(
                    f"{found[path.stem].name} and {path.name} in {directory} have the same stem, so it is unclear "
                    "which one to use. Remove or rename one of them."
                )
            found[path.stem] = path
    if not found:
        raise DataError(f"{directory} holds no image files ({', '.join(EXTENSIONS)}).")
    return found


def _listed(root: Path, name: str) -> tuple[list[tuple[Path, Path]], list[Bad]]:
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
