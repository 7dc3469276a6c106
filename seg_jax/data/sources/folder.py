"""Photographs and masks in directories, matched by name, or named in list files.

The defaults are SegNet's CamVid layout: `DIR/train/NAME.png` with `DIR/trainannot/NAME.png`. Other layouts are named by
directories or patterns: `images='images/{split}'`, `masks='masks/{split}/*_mask.png'`. The star stands for the part
that the names of a photograph and its mask have in common, and ** for any directories in between.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from seg_jax.config import ConfigError, DataConfig, lookup, require
from seg_jax.data.depth import Depth
from seg_jax.data.examples import Bad, Examples
from seg_jax.data.images import DataError, Stored, read_photograph
from seg_jax.data.labels import LabelTable
from seg_jax.data.labels.builtin import label_table
from seg_jax.data.labels.masks import MaskReader
from seg_jax.data.orientation import read_pair
from seg_jax.data.sources import lists, tiles
from seg_jax.data.sources.patterns import Key, Pattern, loose

Paths = tuple[Path, Path | None]  # photograph and mask, None where `missing_mask` says what it would be


def load(data: DataConfig, split: str, *, seed: int) -> Examples:
    """The pairs of one split, in the order of their names.

    Args:
      data: reads `dir`, the directory of the data set; `images` and `masks`, directories or patterns below it;
        `mask_suffix`, the suffix of a mask's stem after the photograph's stem where `masks` is a directory; `list`, the
        pattern of a list file, see `lists.read`, which replaces the search or chooses from it; `val_share`, see
        `data.splits`; `labels`, see `label_table`; `mask_format`, see `masks.FORMATS`; `resize_masks`, whether masks
        may have another size; `missing_mask`, what a photograph without a mask is.
      split: replaces '{split}' in the patterns.
      seed: unused.

    Raises:
      ConfigError: fields contradict one another.
      DataError: a directory is missing or empty.
      LabelError: there is no label table, or it is invalid.
    """
    del seed
    root = Path(data.dir).expanduser()
    if not root.is_dir():
        raise DataError(f"config.data.dir = {data.dir!r} is not a directory. Pass --config.data.dir=DIR.")
    table = label_table(root, data.labels)
    _check_splits(data, split)
    if data.list:
        pairs, bad = _listed(root, data, split)
    else:
        pairs, bad = _matched(root, data, split)
    names = tuple(" + ".join(_shown(path, root) for path in pair if path) for pair in pairs)
    if any(data.tile):
        complete = [(photo, mask) for photo, mask in pairs if mask]
        require(
            len(complete) == len(pairs) and data.mask_format in ("auto", "index"),
            data,
            "data.tile",
            "tiles are those of photographs that all have a mask of class indices",
            "Use (0, 0), or data.missing_mask='refuse' and data.mask_format='index'",
        )
        made = tiles.examples(complete, names, data, table, split)
        return replace(made, bad=(*bad, *made.bad))
    reader, depth = MaskReader(table, data.mask_format), Depth.of(data)

    background = _background(data, table) if data.missing_mask == "background" else 0

    def read(index: int) -> tuple[np.ndarray, np.ndarray]:
        image_path, mask_path = pairs[index]
        if mask_path is None:
            photo = read_photograph(image_path, depth, upright=data.exif != "ignore")
            label = np.full(photo.size, background, table.dtype)
            return photo.pixels, table.without_data(label, photo.missing)
        return read_pair(image_path, mask_path, reader, depth=depth, exif=data.exif, resize=data.resize_masks)

    def mask(index: int) -> Stored:
        path = pairs[index][1]
        return reader.stored(path) if path else Stored(np.full((1, 1), table.values[background][0]))

    return Examples(
        split=split,
        names=names,
        read=read,
        table=table,
        files=tuple(tuple(path for path in pair if path) for pair in pairs),
        mask=mask,
        reading=f"mask_format={data.mask_format}, resize_masks={data.resize_masks}, {depth}",
        bad=tuple(bad),
    )


def _check_splits(data: DataConfig, split: str) -> None:
    """Refuses shares beside splits that are named, and splits that nothing tells from the training split."""
    named = "{split}" in (data.list or data.images + data.masks)
    require(
        not (named and data.val_share),
        data,
        "data.val_share",
        "a validation split is held out of one set of pairs, but '{split}' in data.images, data.masks or "
        "data.list names one for each split",
        "Use 0.0, or patterns without '{split}'",
    )
    if data.val_share and split != data.train_split:  # `data.splits` reads the training split and takes its parts
        lookup(dict.fromkeys((data.train_split, data.val_split)), split, "data.val_split")
        rule = "no directory or list names a split 'test', and no share of the pairs is held out for it"
        require(data.test_share > 0, data, "data.test_share", rule, "Use the value that the run was trained with")
    require(
        named or split == data.train_split or split != data.val_split,
        data,
        "data.val_share",
        "without '{split}' in data.images, data.masks or data.list the validation split would be the training split",
        "Use 0.1 to hold a tenth of the pairs out, or '{split}' where directories or lists differ",
    )


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
    images = Pattern.parse(root, _of_split(data.images, split), "data.images")
    masks = Pattern.parse(root, _of_split(data.masks, split), "data.masks")
    require(
        not data.mask_suffix or masks.rest == "*",
        data,
        "data.mask_suffix",
        f"data.masks = {data.masks!r} is a pattern, which names masks completely",
        "Use ''",
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
    twins = {key: (*key[:-1], key[-1] + suffix) for key in photos}
    free = annotations.keys() - set(twins.values())
    twins |= _spelled_otherwise({key: twin for key, twin in twins.items() if twin not in annotations}, free)
    paired = {key: twin for key, twin in twins.items() if twin in annotations}
    pairs: list[Paths] = [(photos[key], annotations[twin]) for key, twin in paired.items()]
    require(
        images.stars == masks.stars or bool(pairs),
        data,
        "data.masks",
        f"it has {masks.stars} stars and data.images = {data.images!r} has {images.stars}; a photograph and its mask "
        "are matched by the text under the stars (a directory counts as one star)",
        "Use the same number of stars",
    )
    without = {key: photo for key, photo in photos.items() if twins[key] not in annotations}
    if data.missing_mask == "background":
        pairs += [(photo, None) for photo in without.values()]
        without = {}
    cure = "add it, or set --config.data.missing_mask=background if the photograph shows nothing of the classes."
    bad = [
        Bad(str(photo), f"has no mask {masks.fill(twins[key]) if images.stars == masks.stars else masks.base}; {cure}")
        for key, photo in without.items()
    ]
    used = set(twins.values())
    bad += [
        Bad(str(path), f"is a mask without a photograph in {images.base}")
        for key, path in annotations.items()
        if key not in used
    ]
    return pairs, bad


def _spelled_otherwise(twins: Mapping[Key, Key], free: Collection[Key]) -> dict[Key, Key]:
    """For photographs whose masks are not there (photograph -> mask): the masks whose names are spelled otherwise.

    Only where one photograph and one free mask have the same loose form; all others stay unpaired.
    """
    asked = Counter(map(loose, twins.values()))
    there = Counter(map(loose, free))
    spelled = {loose(key): key for key in free}
    wanted = {key: loose(twin) for key, twin in twins.items()}
    return {key: spelled[text] for key, text in wanted.items() if asked[text] == there[text] == 1}


def _listed(root: Path, data: DataConfig, split: str) -> tuple[list[Paths], list[Bad]]:
    """The pairs of a list; a photograph that is also in the list of the other split is refused."""

    def matched(split: str) -> list[lists.Paths]:
        return [(photo, mask) for photo, mask in _matched(root, data, split)[0] if mask]

    def pairs_of(split: str) -> tuple[list[Paths], list[Bad]]:
        pairs, bad = lists.read(root, root / _of_split(data.list, split), lambda: matched(split))
        return [*pairs], bad

    pairs, bad = pairs_of(split)
    other = data.val_split if split == data.train_split else data.train_split
    path = root / _of_split(data.list, other)
    if split != other and "{split}" in data.list and path.is_file():
        twice = {photo for photo, _ in pairs} & {photo for photo, _ in pairs_of(other)[0]}
        if twice:
            raise DataError(
                f"{min(twice)} is in the lists of {split!r} and {other!r}, as {len(twice)} in all: a score on what was "
                f"trained on says nothing. Remove it from {path}."
            )
    return pairs, bad


def _of_split(text: str, split: str) -> str:
    """A pattern for a split; other braces belong to names, which `str.format` would take for fields of its own."""
    return text.replace("{split}", split)


def _shown(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
