"""Cityscapes (Cordts et al. 2016) from its unpacked official archives.

`DIR/leftImg8bit/SPLIT/CITY/FRAME_leftImg8bit.png` with `DIR/gtFine/SPLIT/CITY/FRAME_gtFine_labelIds.png`, or
`gtCoarse`. Without `labelIds` files, `labelTrainIds` or `color` files are read instead. `instanceIds` files are used in
evaluation if every frame has one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from seg_jax.config import DataConfig, did_you_mean, lookup
from seg_jax.data.examples import Bad, Examples
from seg_jax.data.images import DataError, read_mask
from seg_jax.data.labels import LabelTable
from seg_jax.data.labels.cityscapes import TABLES
from seg_jax.data.labels.masks import MaskReader
from seg_jax.data.orientation import read_pair


def load(data: DataConfig, split: str, *, seed: int) -> Examples:
    """The frames of one split, in the order of their cities and names.

    Args:
      data: reads `dir`, which contains `leftImg8bit` and `gtFine` or `gtCoarse`; `cityscapes.labels`, the choice of
        classes; `cityscapes.cities`, the cities to read, all if empty; `cityscapes.coarse`, whether to read `gtCoarse`.
      split: train, val, test (whose annotations are blank), or train_extra, which has only coarse annotations.
      seed: unused.

    Raises:
      ConfigError: there is no such choice of classes.
      DataError: a directory or city is missing.
    """
    del seed
    root = Path(data.dir).expanduser()
    table = lookup(TABLES, data.cityscapes.labels, "data.cityscapes.labels")
    truth = "gtCoarse" if data.cityscapes.coarse else "gtFine"
    photos = _frames(root, "leftImg8bit", split, "_leftImg8bit.png")
    masks: dict[Path, tuple[Path, MaskReader]] = {}
    readers = _readers(data.cityscapes.labels, table)
    for kind, reader in readers.items():  # in order of preference
        for frame, path in _frames(root, truth, split, f"_{truth}_{kind}.png").items():
            masks.setdefault(frame, (path, reader))
    if data.cityscapes.cities:
        cities = _cities(root, split, sorted({frame.parts[0] for frame in photos}), tuple(data.cityscapes.cities))
        photos = {frame: path for frame, path in photos.items() if frame.parts[0] in cities}
        masks = {frame: mask for frame, mask in masks.items() if frame.parts[0] in cities}
    frames = [frame for frame in photos if frame in masks]
    bad = [
        Bad(str(path), f"has no mask {root / truth / split / frame}_{truth}_{'|'.join(readers)}.png")
        for frame, path in photos.items()
        if frame not in masks
    ]
    bad += [
        Bad(str(path), f"is a mask without a photograph {root / 'leftImg8bit' / split / frame}_leftImg8bit.png")
        for frame, (path, _) in masks.items()
        if frame not in photos
    ]

    instances = _frames(root, truth, split, f"_{truth}_instanceIds.png")

    def read(index: int) -> tuple[np.ndarray, np.ndarray]:
        photo = photos[frames[index]]
        path, reader = masks[frames[index]]
        return read_pair(photo, path, reader, exif=data.exif)

    return Examples(
        split=split,
        names=tuple(frame.name for frame in frames),
        read=read,
        table=table,
        files=tuple((photos[frame], masks[frame][0]) for frame in frames),
        mask=lambda i: masks[frames[i]][1].stored(masks[frames[i]][0]),
        instances=(lambda i: read_mask(instances[frames[i]])) if instances.keys() >= set(frames) else None,
        bad=tuple(bad),
    )


def _readers(labels: str, table: LabelTable) -> dict[str, MaskReader]:
    """Kind of file -> its reader, for the kinds that distinguish these classes, in order of preference."""
    readers = {"labelIds": MaskReader(table, "index"), "color": MaskReader(table, "color")}
    if labels == "trainids":
        by_train_id = LabelTable(names=table.names, colors=table.colors)
        return {"labelIds": readers["labelIds"], "labelTrainIds": MaskReader(by_train_id, "index"), **readers}
    return readers


def _frames(root: Path, kind: str, split: str, suffix: str) -> dict[Path, Path]:
    """Frame, such as 'aachen/aachen_000000_000019' -> file, for every file below `root/kind/split` with this suffix."""
    directory = root / kind / split
    if not directory.is_dir():
        above = next(p for p in (directory, *directory.parents) if p.is_dir())
        there = sorted(path.name for path in above.iterdir() if path.is_dir())
        raise DataError(
            f"{directory} is not a directory; {above} contains: {', '.join(there) or 'no directories'}. Unpack "
            "leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip of Cityscapes into one directory and pass it as "
            "--config.data.dir; 'train_extra' needs leftImg8bit_trainextra.zip, gtCoarse.zip and "
            "--config.data.cityscapes.coarse=True."
        )
    files = sorted(directory.glob(f"*/*{suffix}"))
    return {path.relative_to(directory).parent / path.name.removesuffix(suffix): path for path in files}


def _cities(root: Path, split: str, in_split: list[str], requested: tuple[str, ...]) -> set[str]:
    """The requested cities that are in this split; a name that no split has is an error."""
    everywhere = {path.name for path in (root / "leftImg8bit").glob("*/*") if path.is_dir()}
    for city in requested:
        if city not in everywhere:
            raise DataError(
                f"config.data.cityscapes.cities = {requested!r}: there is no city {city!r} in {root / 'leftImg8bit'}, "
                f"which contains: {', '.join(sorted(everywhere))}.{did_you_mean(city, everywhere)}"
            )
    cities = set(requested) & set(in_split)
    if not cities:
        raise DataError(
            f"config.data.cityscapes.cities = {requested!r}: none of them is in the split {split!r}, which contains: "
            f"{', '.join(in_split)}. Add one of these, or use () for all cities."
        )
    return cities
