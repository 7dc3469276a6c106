"""Photographs and masks in directories, matched by name, or named in list files.

The defaults are SegNet's CamVid layout: `DIR/train/NAME.png` with `DIR/trainannot/NAME.png`. Other layouts are named by
directories or patterns: `images='images/{split}'`, `masks='masks/{split}/*_mask.png'`. The star stands for the part
that the names of a photograph and its mask have in common, and ** for any directories in between.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from seg_jax.config import ConfigError, DataConfig, lookup, require
from seg_jax.data.examples import Bad, Examples, check_sizes
from seg_jax.data.images import DataError, Stored, fit_label, read_image
from seg_jax.data.labels import IGNORE, LabelTable
from seg_jax.data.labels.builtin import label_table
from seg_jax.data.labels.masks import MaskReader
from seg_jax.data.sampler import held_out
from seg_jax.data.sources.patterns import Pattern

Paths = tuple[Path, Path | None]  # photograph and mask, None where `missing_mask` says what it would be


def load(data: DataConfig, split: str, *, seed: int) -> Examples:
    """The pairs of one split, in the order of their names.

    Args:
      data: reads `dir`, the directory of the data set; `images` and `masks`, directories or patterns below it;
        `mask_suffix`, the suffix of a mask's stem after the photograph's stem where `masks` is a directory; `list`, the
        pattern of a file with one 'image mask' pair per line, which replaces the search; `val_share`, the share of the
        pairs in the validation split where none of these names a split; `labels`, see `label_table`; `mask_format`,
        see `masks.FORMATS`; `resize_masks`, whether masks may have another size; `missing_mask`, what a photograph
        without a mask is.
      split: replaces '{split}' in the patterns.
      seed: samples the validation split.

    Raises:
      ConfigError: fields contradict one another.
      DataError: a directory is missing or empty.
      LabelError: there is no label table, or it is invalid.
    """
    root = Path(data.dir).expanduser()
    if not root.is_dir():
        raise DataError(f"config.data.dir = {data.dir!r} is not a directory. Pass --config.data.dir=DIR.")
    table = label_table(root, data.labels)
    held_part = _held_part(data, split)
    if data.list:
        pairs, bad = _listed(root, data.list.format(split=split))
    else:
        pairs, bad = _matched(root, data, split)
    if held_part is not None:
        held = held_out(seed, len(pairs), data.val_share)
        pairs = [pair for pair, val in zip(pairs, held, strict=True) if val == held_part]
        bad = [] if held_part else bad  # reported once, with the training split
    reader = MaskReader(table, data.mask_format)

    background = _background(data, table) if data.missing_mask == "background" else 0

    def read(index: int) -> tuple[np.ndarray, np.ndarray]:
        image_path, mask_path = pairs[index]
        image = read_image(image_path, pages=False)
        if mask_path is None:
            return image, np.full(image.shape[:2], background, np.uint8)
        label = reader.read(mask_path)
        fitted = fit_label(label, image.shape[:2], IGNORE)
        cure = " Set config.data.resize_masks=True." if fitted.shape == image.shape[:2] else ""
        label = fitted if data.resize_masks else label
        check_sizes(image, label, image_name=image_path, mask_name=mask_path, cure=cure)
        return image, label

    def mask(index: int) -> Stored:
        path = pairs[index][1]
        return reader.stored(path) if path else Stored(np.full((1, 1), table.values[background][0]))

    return Examples(
        split=split,
        names=tuple(" + ".join(_shown(path, root) for path in pair if path) for pair in pairs),
        read=read,
        table=table,
        files=tuple(tuple(path for path in pair if path) for pair in pairs),
        mask=mask,
        reading=f"mask_format={data.mask_format}, resize_masks={data.resize_masks}",
        bad=tuple(bad),
    )


def _held_part(data: DataConfig, split: str) -> bool | None:
    """Whether `split` is the held-out part of the pairs; None if nothing is held out."""
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


def _background(data: DataConfig, table: LabelTable) -> int:
    """The class of photographs without a mask: that of the name 'background', or of the value 0."""
    names = [name.strip("_ ").lower() for name in table.names]
    zero = next((i for i, stored in enumerate(table.values) if 0 in stored), None)
    found = names.index("background") if "background" in names else zero
    if found is None:
        raise ConfigError(
            "config.data.missing_mask = 'background': the label table has no class 'background', and no class has the "
            "value 0. Use 'refuse', or give a class that name."
        )
    return found


def _matched(root: Path, data: DataConfig, split: str) -> tuple[list[Paths], list[Bad]]:
    """Photographs and masks in whose names the stars match the same text."""
    images = Pattern.parse(root, data.images.format(split=split), "data.images")
    masks = Pattern.parse(root, data.masks.format(split=split), "data.masks")
    require(
        not data.mask_suffix or masks.rest == "*",
        data,
        "data.mask_suffix",
        f"data.masks = {data.masks!r} is a pattern, which names masks completely",
        "Use ''",
    )
    require(
        images.stars == masks.stars,
        data,
        "data.masks",
        f"it has {masks.stars} stars and data.images = {data.images!r} has {images.stars}; a photograph and its mask "
        "are matched by the text under the stars (a directory counts as one star)",
        "Use the same number of stars",
    )
    photos, annotations = images.find(), masks.find()
    suffix = data.mask_suffix
    if suffix and images == Pattern(masks.base, masks.rest, images.field):  # distinguished by the suffix alone
        photos = {key: path for key, path in photos.items() if not key[-1].endswith(suffix)}
        annotations = {key: path for key, path in annotations.items() if key not in photos}
    both = set(photos.values()) & set(annotations.values())
    if both:  # they belong to the more specific pattern
        require(
            len(images.rest) != len(masks.rest),
            data,
            "data.masks",
            f"it has the same files as data.images = {data.images!r}, such as {min(both)}",
            "Use another directory, or a pattern such as '{split}/*_mask.png'",
        )
        general = photos if len(images.rest) < len(masks.rest) else annotations
        for key in [key for key, path in general.items() if path in both]:
            del general[key]
    pairs: list[Paths] = []
    bad, used = [], set()
    for key, photo in photos.items():
        mask_key = (*key[:-1], key[-1] + suffix)
        if mask_key in annotations:
            pairs.append((photo, annotations[mask_key]))
            used.add(mask_key)
        elif data.missing_mask == "background":
            pairs.append((photo, None))
        else:
            cure = (
                "add it, or set --config.data.missing_mask=background if the photograph shows nothing of the classes."
            )
            bad.append(Bad(str(photo), f"has no mask {masks.fill(mask_key)}; {cure}"))
    bad += [
        Bad(str(path), f"is a mask without a photograph in {images.base}")
        for key, path in annotations.items()
        if key not in used
    ]
    return pairs, bad


def _listed(root: Path, name: str) -> tuple[list[Paths], list[Bad]]:
    """Pairs from a list file: two paths per line, separated by a tab, a comma or spaces."""
    path = root / name
    if not path.is_file():
        raise DataError(f"config.data.list: there is no list file {path}.")
    pairs: list[Paths] = []
    bad = []
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
    """A listed path as it is, or moved below `root`: the paths in SegNet's lists start with '/SegNet/CamVid/'."""
    path = Path(listed)
    if path.is_absolute() and path.is_file():
        return path
    for parts in (path.parts[1:] if path.is_absolute() else path.parts, path.parts[-2:]):
        if root.joinpath(*parts).is_file():
            return root.joinpath(*parts)
    return root / path.relative_to(path.anchor)


def _shown(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
