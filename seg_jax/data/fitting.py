"""Photographs of any sizes in batches of one shape: the part that a training crop shows, or the whole with padding."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from seg_jax.config import Size
from seg_jax.data.depth import Depth
from seg_jax.data.examples import Pair
from seg_jax.data.images import resample, resize_image
from seg_jax.data.labels import ignored_in, label_type
from seg_jax.data.pictures import RGB

Arrays = dict[str, tuple[tuple[int, ...], np.dtype]]  # name -> (shape, dtype) of one example

MARGIN = 4  # pixels of a part around what its crop shows: neighbours for the interpolation, and rounding
ENLARGED = 1.001  # photographs that shrink by less than this are not reduced on the host: nothing could alias

PLACED: Arrays = {"placed": ((2, 5), np.dtype(np.float32))}  # where the crop is in a part, see `part`
SIZES: Arrays = {"sizes": ((2, 2), np.dtype(np.float32))}  # of the image and of the label in padded arrays


class Fit(Protocol):
    """What makes the arrays of a batch, of one shape, from examples of any sizes."""

    @property
    def arrays(self) -> Arrays:
        """Shape and dtype of each array of an example."""

    def __call__(self, pair: Pair, *, index: int, batch: int, row: int) -> dict[str, np.ndarray]:
        """The arrays of example `index` of a split in `row` of the stream's batch number `batch`."""


def pictures(size: Size, label: Size | None = None, *, depth: Depth = RGB, classes: int = 2) -> Arrays:
    """Shapes and dtypes of an image and of its label.

    Args:
      size: (height, width) of the image.
      label: that of the label, if it is another.
      depth: of the photographs.
      classes: their number, see `label_type`.
    """
    return {"image": ((*size, depth.channels), depth.dtype), "label": (label or size, label_type(classes))}


def blank(arrays: Mapping[str, tuple[tuple[int, ...], np.dtype]]) -> dict[str, np.ndarray]:
    """An example that fills a batch: black, all of its pixels ignored."""
    filled = {name: np.zeros(shape, dtype) for name, (shape, dtype) in arrays.items()}
    filled["label"][...] = ignored_in(filled["label"])
    return filled


def network_size(size: Size, short_side: int) -> Size:
    """The (height, width) at which the network sees a photograph of `size`: its own, or with a shorter side of
    `short_side`, proportions kept to within half a pixel."""
    if not short_side:
        return size
    scale = short_side / min(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def part(
    image: np.ndarray, label: np.ndarray, matrix: np.ndarray, *, output: Size, size: Size
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cuts out what a crop shows, reduced with antialiasing where the crop shrinks the photograph.

    Where it does not, the pixels are copies, which the device interpolates once. Otherwise the part has the crop's
    resolution, on a grid through the crop's first pixel, so that a crop without rotation copies the reduced pixels.

    Args:
      image: [h w c], or one that was reduced by a whole factor, which the crop reduces at least as much.
      label: [h w].
      matrix: float64 [2 3] from pixels (y, x, 1) of the crop to those of the label, centres at integers.
      output: (height, width) of the crop.
      size: (height, width) of the part.

    Returns:
      image [*size c], label [*size], both with repeated borders, and float32 [2 5]: the map from the crop
      to the part [2 3], and the first and last position in the part that belong to the photograph [2 2].
    """
    linear, origin = matrix[:, :2], matrix[:, 2]
    corners = linear * (np.array(output) - 1)
    low, high = np.minimum(corners, 0).sum(1), np.maximum(corners, 0).sum(1)
    room = np.array(size) - MARGIN
    pitch = max(math.sqrt(abs(np.linalg.det(linear))), *((high - low) / room))
    if pitch <= ENLARGED:
        pitch, first = 1.0, np.floor(origin + low) - 1
        start = origin - first  # of the crop, in the part
    else:
        start = np.ceil(1 - low / pitch)
        first = origin - start * pitch  # of the part, in the photograph
    shape = np.array(label.shape)
    inside = np.stack([-0.5 - first, shape - 0.5 - first], axis=1) / pitch
    placed = np.concatenate([linear / pitch, start[:, None], inside], axis=1).astype(np.float32)
    centres = [first[axis] + pitch * np.arange(size[axis]) for axis in (0, 1)]
    rows, columns = (
        np.clip(np.floor(centre + 0.5).astype(np.int64), 0, n - 1)
        for centre, n in zip(centres, label.shape, strict=True)
    )
    factor = label.shape[0] // image.shape[0]
    if pitch == factor == 1:
        return _at(image, rows, columns), _at(label, rows, columns), placed
    small = [(centre + 0.5) / factor - 0.5 for centre in centres]
    return _reduced(image, small, pitch / factor), _at(label, rows, columns), placed


def _at(array: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The pixels of some rows and columns, [rows columns ...]; rows and columns ascend."""
    band = array[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    if band.shape[:2] == (len(rows), len(columns)):
        return np.ascontiguousarray(band)
    # Indices in brackets would give an array whose columns come first in memory.
    return band.take(rows - rows[0], axis=0).take(columns - columns[0], axis=1)


def _reduced(image: np.ndarray, centres: list[np.ndarray], pitch: float) -> np.ndarray:
    """The image at a grid of positions, `pitch` pixels apart, antialiased by Pillow's triangle; borders repeat."""
    ranges, boxes, kept = [], [], []
    for centre, n in zip(centres, image.shape[:2], strict=True):
        # Only positions in the photograph are computed, at least one; the others repeat them.
        first = int(np.clip(np.searchsorted(centre, -0.5), 0, len(centre) - 1))
        last = int(np.clip(np.searchsorted(centre, n - 0.5, side="right") - 1, first, len(centre) - 1))
        begin = math.floor(centre[first] - pitch) - 1  # half of the triangle's base is `pitch`
        end = math.ceil(centre[last] + pitch) + 1
        ranges.append((begin, end + 1))
        boxes.append((centre[first] - begin + 0.5 - pitch / 2, centre[last] - begin + 0.5 + pitch / 2))
        kept.append((first, last))
    (y0, y1), (x0, x1) = boxes
    height, width = (last - first + 1 for first, last in kept)
    small = resample(_extended(image, ranges), (height, width), box=(x0, y0, x1, y1))
    pads = [(first, len(centre) - 1 - last) for (first, last), centre in zip(kept, centres, strict=True)]
    return np.pad(small, (*pads, (0, 0)), mode="edge")


def _extended(image: np.ndarray, ranges: list[tuple[int, int]]) -> np.ndarray:
    """The pixels of ranges (begin, end) of rows and columns, which may be outside: there borders repeat."""
    inner, pads = [], []
    for (begin, end), n in zip(ranges, image.shape[:2], strict=True):
        first = min(max(begin, 0), n - 1)
        last = max(min(end, n), first + 1)
        before = min(max(first - begin, 0), end - begin - 1)
        inner.append(slice(first, last))
        pads.append((before, end - begin - before - (last - first)))
    region = image[tuple(inner)]
    return np.pad(region, (*pads, (0, 0)), mode="edge") if np.any(pads) else np.ascontiguousarray(region)


class Padded:
    """Whole photographs in arrays of one shape, for evaluation: a `Fit`.

    Args:
      size: (height, width) of the images.
      label: (height, width) of the labels, which keep the size of the photographs.
      short_side: see `network_size`; 0: images and labels have one size, and need not say which.
      depth, classes: see `pictures`.
    """

    def __init__(self, size: Size, label: Size, short_side: int, *, depth: Depth = RGB, classes: int = 2):
        self.size, self._label, self._short_side = size, label, short_side
        self._depth, self._classes = depth, classes

    @property
    def arrays(self) -> Arrays:
        """See `Fit`; with 'sizes' where image and label differ in size."""
        made = pictures(self.size, self._label, depth=self._depth, classes=self._classes)
        return made | (SIZES if self._short_side else {})

    def __call__(self, pair: Pair, *, index: int, batch: int, row: int) -> dict[str, np.ndarray]:
        """A photograph with repeated borders, and its label with ignored ones."""
        del index, batch, row
        image, label = pair
        size = (label.shape[0], label.shape[1])
        scaled = network_size(size, self._short_side)
        image = resize_image(image, scaled)
        pads = [(0, full - n) for full, n in zip(self.size, scaled, strict=True)]
        ends = [(0, full - n) for full, n in zip(self._label, size, strict=True)]
        arrays = {
            "image": np.pad(image, (*pads, (0, 0)), mode="edge"),
            "label": np.pad(label, ends, constant_values=ignored_in(label)),
        }
        return arrays | ({"sizes": np.array([scaled, size], np.float32)} if self._short_side else {})
