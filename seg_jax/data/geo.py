"""GeoTIFF and other large TIFF through rasterio: a window of a file is read without the rest of it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from seg_jax.config import Size
from seg_jax.data.decoder import DataError
from seg_jax.data.depth import Depth
from seg_jax.runtime.extras import install_command

Window = tuple[tuple[int, int], tuple[int, int]]  # (first, last + 1) of the rows, and of the columns


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A raster as a dataset of rasterio.

    Raises:
      DataError: it is damaged or no raster; rasterio is not installed.
    """
    try:
        import rasterio
    except ModuleNotFoundError as error:
        raise DataError(f"{path} is read by rasterio. Add it: {install_command('geo')}") from error
    try:
        with warnings.catch_warnings(action="ignore", category=rasterio.errors.NotGeoreferencedWarning):
            source = rasterio.open(path)
        with source:
            yield source
    except rasterio.errors.RasterioIOError as error:
        raise DataError(f"{path} cannot be read ({error}); replace or remove it.") from error


def read(source: Any, window: Window, depth: Depth) -> tuple[np.ndarray, np.ndarray | None]:
    """As `images.read_photograph`, of a window of an open raster."""
    values = np.moveaxis(source.read(window=window), 0, -1)
    missing = depth.missing(values, source.nodata)
    alpha = source.colorinterp[-1].name == "alpha"
    return depth.apply(values, alpha, source.name, missing=missing), missing


def tiles(size: Size, tile: Size) -> list[Window]:
    """Windows of the size `tile` that cover an image; the last ones of a row and column overlap those before them.

    Raises:
      DataError: the image is smaller than a tile.
    """
    if size[0] < tile[0] or size[1] < tile[1]:
        raise DataError(
            f"has {size[0]}x{size[1]} pixels (height x width), less than a tile of config.data.tile = {tile}. Use a "
            "smaller tile, or (0, 0) to read photographs as wholes"
        )
    rows, columns = (
        [min(first, length - side) for first in range(0, length, side)] for length, side in zip(size, tile, strict=True)
    )
    return [((row, row + tile[0]), (column, column + tile[1])) for row in rows for column in columns]
