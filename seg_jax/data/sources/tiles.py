"""Tiles of large rasters: each tile of a pair of files is an example, for which only its window is read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seg_jax.config import DataConfig, Size
from seg_jax.data import geo
from seg_jax.data.depth import Depth
from seg_jax.data.examples import Bad, Examples, Pair
from seg_jax.data.images import DataError, Stored
from seg_jax.data.labels import LabelError, LabelTable


def examples(
    pairs: Sequence[tuple[Path, Path]], names: Sequence[str], data: DataConfig, table: LabelTable, split: str
) -> Examples:
    """The tiles of some pairs of raster and mask, those of a pair one after the other.

    Args:
      pairs: the files.
      names: of the pairs, for messages.
      data: reads `tile`, `bands` and `range`.
      table: the meaning of the values in masks, which have one band.
      split: its name.
    """
    depth, tile = Depth.of(data), (data.tile[0], data.tile[1])
    places: list[tuple[int, geo.Window]] = []
    bad = []
    for i, (photo, mask) in enumerate(pairs):
        try:
            places += [(i, window) for window in geo.tiles(_size(photo, mask), tile)]
        except DataError as error:
            bad.append(Bad(names[i], str(error)))

    def stored(index: int) -> np.ndarray:
        i, window = places[index]
        with geo.opened(pairs[i][1]) as source:
            return source.read(1, window=window)

    def read(index: int) -> Pair:
        i, window = places[index]
        with geo.opened(pairs[i][0]) as source:
            image, missing = geo.read(source, window, depth)
        try:
            return image, table.without_data(table.encode(stored(index)), missing)
        except LabelError as error:
            raise LabelError(f"{pairs[i][1]}, rows {window[0]}, columns {window[1]}: {error}") from error

    return Examples(
        split=split,
        names=tuple(f"{names[i]} [{rows[0]}, {columns[0]}]" for i, (rows, columns) in places),
        read=read,
        table=table,
        files=tuple(pairs[i] for i, _ in places),
        mask=lambda index: Stored(stored(index)),
        reading=f"tile={tile}, {depth}",
        bad=tuple(bad),
    )


def _size(photo: Path, mask: Path) -> Size:
    """(height, width) of both, from their headers."""
    with geo.opened(photo) as image, geo.opened(mask) as label:
        if (image.height, image.width) != (label.height, label.width):
            raise DataError(
                f"{photo} has {image.height}x{image.width} pixels (height x width) but its mask {mask} has "
                f"{label.height}x{label.width}; they must agree."
            )
        if label.count != 1 or np.dtype(label.dtypes[0]).kind != "u" or np.dtype(label.dtypes[0]).itemsize > 2:
            raise DataError(
                f"the mask {mask} has {label.count} bands of {label.dtypes[0]}; for tiles it has one of uint8 or "
                "uint16. Convert it to class indices."
            )
        if image.crs and label.crs and (image.crs != label.crs or not image.transform.almost_equals(label.transform)):
            raise DataError(
                f"{photo} and its mask {mask} are georeferenced to different places. Resample the mask onto the "
                "grid of the photograph."
            )
        return image.height, image.width
