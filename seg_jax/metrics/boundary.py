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

_BEYOND, _BELOW = 256, -1  # above and below every class id


def near(label: np.ndarray, distance: int, *, outside: bool) -> np.ndarray:
    """Whether a pixel of another class lies within `distance` of each pixel, bool [h w]; False where ignored.

    Args:
      label: class ids, uint8 [h w], 255 = ignore.
      distance: chessboard distance in pixels, at least 1.
      outside: whether ignored pixels, and what lies beyond the image, are another class too.
    """
    valid = label != IGNORE
    ids, beyond = label.astype(np.int16), _BEYOND if outside else _BELOW
    low, high = np.where(valid, ids, np.int16(_BEYOND)), np.where(valid, ids, np.int16(beyond))
    for axis in (0, 1):
        low = _spread(low, distance, axis, np.minimum, _BEYOND)
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
    tp, true, found = (
        np.bincount(ids, minlength=classes)
        for ids in (label[truly & seemingly & (label == seen)], label[truly], seen[seemingly])
    )
    return np.stack([tp, found - tp, true - tp])


def bands(label: np.ndarray) -> list[np.ndarray]:
    """For each of `WIDTHS`, bool [h w]: the pixels so near to another class of the truth.

    Kohli et al. 2009, section 5. Neither ignored pixels nor the image's edge make a band.
    """
    return [near(label, width, outside=False) for width in WIDTHS]
