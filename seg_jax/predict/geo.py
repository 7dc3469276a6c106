"""GeoTIFF: read in rows, so that a raster of any size fits into memory, and masks with the georeference of their input.

Only the mask is a GeoTIFF; pictures for people are PNG, as of every photograph.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from seg_jax.data import geo
from seg_jax.data.decoder import DataError
from seg_jax.data.depth import Depth
from seg_jax.data.labels import LabelTable
from seg_jax.data.rasters import TIFF
from seg_jax.runtime.extras import install_command

GEOREFERENCE = (33550, 33922, 34264, 34735)  # tags of GeoTIFF: scale, tie points, transformation, keys


def is_raster(path: object) -> bool:
    """Whether a file is a TIFF with a georeference.

    Raises:
      DataError: it is, and rasterio is not installed.
    """
    if not isinstance(path, Path) or path.suffix.lower() not in TIFF or not path.is_file():
        return False
    installed = importlib.util.find_spec("rasterio") is not None
    if installed:
        with contextlib.suppress(DataError), geo.opened(path) as source:
            return source.crs is not None or not source.transform.is_identity
        return False
    try:
        with Image.open(path) as image:
            found = any(tag in image.tag_v2 for tag in GEOREFERENCE)  # type: ignore[attr-defined]
    except Exception:  # whoever reads it says what is wrong with it
        return False
    if found:
        raise DataError(f"{path} has a georeference, which rasterio keeps. Add it: {install_command('geo')}")
    return False


class Rows:
    """The pixels of a raster, [h w c] in 0..255, read from the file when rows are asked for: `rows[first:last]`.

    Args:
      source: an open dataset of rasterio.
      depth: its bands, and the range that becomes 0..255.
    """

    def __init__(self, source: Any, depth: Depth):
        self._source, self._depth = source, depth
        self.shape = (source.height, source.width, depth.channels)

    def __getitem__(self, rows: slice) -> np.ndarray:
        return geo.read(self._source, self._window(rows), self._depth)[0]

    def missing(self, rows: slice) -> np.ndarray | None:
        """Where nothing was measured, bool [rows w]; None: nowhere in these rows."""
        return geo.read(self._source, self._window(rows), self._depth)[1]

    def _window(self, rows: slice) -> geo.Window:
        first, last, _ = rows.indices(self.shape[0])
        return (first, last), (0, self.shape[1])


@contextmanager
def opened(path: Path, depth: Depth) -> Iterator[Rows]:
    """The rows of a raster.

    Raises:
      DataError: it is damaged.
    """
    with geo.opened(path) as source:
        yield Rows(source, depth)


def write(out: Path, like: Path, bands: Iterable[tuple[int, np.ndarray]], table: LabelTable) -> np.ndarray:
    """Writes class ids as a GeoTIFF with the georeference of `like`; what is ignored is nodata.

    Args:
      out: the file; it appears when it is complete.
      like: the raster that the ids are of.
      bands: (first row, class ids [rows w]), from the top.
      table: the meaning of the ids; its colours are the file's, where they are bytes.

    Returns:
      The number of pixels of each class, int64 [k].
    """
    import rasterio

    counts = np.zeros(len(table), np.int64)
    with geo.opened(like) as source:
        profile = {
            "driver": "GTiff",
            "height": source.height,
            "width": source.width,
            "count": 1,
            "dtype": str(table.dtype),
            "nodata": table.ignored,
            "crs": source.crs,
            "transform": source.transform,
            "compress": "deflate",
            "BIGTIFF": "IF_SAFER",
        }
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.partial")
    with rasterio.open(partial, "w", **profile) as target:
        if table.dtype == np.uint8:
            target.write_colormap(1, {i: (*color, 255) for i, color in enumerate(table.colors)})
        for first, label in bands:
            target.write(label, 1, window=((first, first + len(label)), (0, label.shape[1])))
            counts += np.bincount(label[label != table.ignored], minlength=len(table))
    os.replace(partial, out)
    return counts
