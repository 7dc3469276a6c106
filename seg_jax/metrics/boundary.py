"""Scores near boundaries, where one pixel's shift counts: boundary IoU and the bands of a trimap.

Distances are chessboard distances, the number of 3x3 dilations that it takes to get from pixel to pixel.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from seg_jax.data.labels import IGNORE

RATIO = 0.02  # of the image's diagonal; Cheng et al. 2021, section 5
WIDTHS = (1, 2, 4, 8, 16)  # pixels on either side of a boundary, the bands of the trimaps


def near(label: np.ndarray, distance: int, *, outside: bool) -> np.ndarray:
    """Whether a pixel of another class lies within `distance` of each pixel, bool [h w]; False where ignored.

    Args:
      label: class ids, uint8 [h w], 255 = ignore.
      distance: chessboard distance in pixels, at least 1.
      outside: whether ignored pixels, and what lies beyond the image, are another class too.
    """
    valid = label != IGNORE
    # IGNORE is above every class id, so that it makes no lowest one; 0 makes no highest one where a class is.
    beyond = IGNORE if outside else 0
    low, high = label, np.where(valid, label, np.uint8(beyond))
    for axis in (0, 1):
        low = _spread(low, distance, axis, np.minimum, IGNORE)
        high = _spread(high, distance, axis, np.maximum, beyond)
    return valid & (low != high)


def _spread(
    values: np.ndarray, distance: int, axis: int, combine: Callable[[np.ndarray, np.ndarray], np.ndarray], beyond: int
) -> np.ndarray:
    """The extreme value within `distance` along one axis, in log2(distance) passes."""
    widths = [(distance, distance) if i == axis else (0, 0) for i in range(values.ndim)]
    values = np.moveaxis(np.pad(values, widths, constant_values=beyond), axis, 0)
    covered, wanted = 1, 2 * distance + 1
    while covered < wanted:
        step = min(covered, wanted - covered)
        values = combine(values[:-step], values[step:])
        covered += step
    return np.moveaxis(values, 0, axis)


def boundary_counts(prediction: np.ndarray, label: np.ndarray, classes: int) -> np.ndarray:
    """TP, FP, FN of boundary regions, int64 [3 k] (Cheng et al. 2021, equation 3).

    The boundary region of a class is what of it lies within `RATIO` of the image's diagonal from where it ends, be
    that at another class, at an ignored pixel, or at the image's edge. The boundary IoU is the overlap of that of the
    truth and that of the prediction. Ignored pixels belong to neither.

    Args:
      prediction: class ids, uint8 [h w].
      label: class ids, uint8 [h w], 255 = ignore.
      classes: k.
    """
    distance = max(1, round(RATIO * math.hypot(*label.shape)))
    seen = np.where(label == IGNORE, np.uint8(IGNORE), prediction)
    truly, seemingly = (near(ids, distance, outside=True) for ids in (label, seen))
    pairs = ((label, truly & seemingly & (label == seen)), (label, truly), (seen, seemingly))
    tp, true, found = (_count(ids, there, classes) for ids, there in pairs)
    return np.stack([tp, found - tp, true - tp])


def _count(ids: np.ndarray, there: np.ndarray, classes: int) -> np.ndarray:
    """Pixels of each class, int64 [k]; row by row, since NumPy counts in copies of 8 bytes a pixel."""
    return np.sum([np.bincount(row[here], minlength=classes) for row, here in zip(ids, there, strict=True)], axis=0)


def nearest(label: np.ndarray) -> np.ndarray:
    """For each pixel, the first of `WIDTHS` within which another class of the truth lies: its place, uint8 [h w].

    len(WIDTHS) where none does. The band of a width is made of the pixels at its place and before (Kohli et al. 2009,
    section 5). Neither ignored pixels nor the image's edge make a band.
    """
    places = np.full(label.shape, len(WIDTHS), np.uint8)
    for place in reversed(range(len(WIDTHS))):
        places[near(label, WIDTHS[place], outside=False)] = place
    return places
