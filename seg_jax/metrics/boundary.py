"""Scores near boundaries, where a shift by one pixel matters: boundary IoU and trimap bands.

Distances are chessboard distances: the number of 3x3 dilations from one pixel to the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from seg_jax.data.labels import ignored_in

RATIO = 0.02  # width of a boundary region as a share of the image's diagonal; Cheng et al. 2021, section 5
WIDTHS = (1, 2, 4, 8, 16)  # widths of the trimap bands, in pixels on either side of a boundary


def near(label: np.ndarray, distance: int, *, outside: bool) -> np.ndarray:
    """Whether a pixel of another class is within `distance` of each pixel, bool [h w]; False where ignored.

    Args:
      label: class ids, [h w], the largest value of the type = ignore.
      distance: chessboard distance in pixels, at least 1.
      outside: whether ignored pixels and the area beyond the image count as another class.
    """
    ignored = ignored_in(label)
    valid = label != ignored
    # Padding that never wins: `ignored` is above every class id for the minimum, 0 is not above any for the maximum.
    beyond = ignored if outside else 0
    low, high = label, np.where(valid, label, label.dtype.type(beyond))
    for axis in (0, 1):
        low = _spread(low, distance, axis, np.minimum, ignored)
        high = _spread(high, distance, axis, np.maximum, beyond)
    return valid & (low != high)


def _spread(
    values: np.ndarray, distance: int, axis: int, combine: Callable[[np.ndarray, np.ndarray], np.ndarray], beyond: int
) -> np.ndarray:
    """The extreme value within `distance` along one axis, in log2(distance) passes."""
    widths = [(distance, distance) if i == axis else (0, 0) for i in range(values.ndim)]
    values = np.moveaxis(np.pad(values, widths, constant_values=beyond), axis, 0)
    covered, window = 1, 2 * distance + 1
    while covered < window:
        step = min(covered, window - covered)
        values = combine(values[:-step], values[step:])
        covered += step
    return np.moveaxis(values, 0, axis)


def boundary_counts(prediction: np.ndarray, label: np.ndarray, classes: int) -> np.ndarray:
    """TP, FP, FN of boundary regions, int64 [3 k] (Cheng et al. 2021, equation 3).

    The boundary region of a class contains its pixels within `RATIO` of the image's diagonal of its end: of another
    class, an ignored pixel, or the image's edge. The boundary IoU is the IoU of the boundary regions of truth and
    prediction. Ignored pixels belong to neither.

    Args:
      prediction: class ids, [h w].
      label: class ids, [h w], the largest value of the type = ignore.
      classes: number of classes k.
    """
    distance = max(1, round(RATIO * math.hypot(*label.shape)))
    predicted = np.where(label == ignored_in(label), label, prediction).astype(label.dtype)
    near_truth, near_predicted = (near(ids, distance, outside=True) for ids in (label, predicted))
    both = near_truth & near_predicted & (label == predicted)
    pairs = ((label, both), (label, near_truth), (predicted, near_predicted))
    tp, true, positive = (_count(ids, region, classes) for ids, region in pairs)
    return np.stack([tp, positive - tp, true - tp])


def _count(ids: np.ndarray, region: np.ndarray, classes: int) -> np.ndarray:
    """Pixels of each class in a region, int64 [k]; row by row, since NumPy copies to 8 bytes a pixel to count."""
    return np.sum([np.bincount(row[mask], minlength=classes) for row, mask in zip(ids, region, strict=True)], axis=0)


def nearest(label: np.ndarray) -> np.ndarray:
    """The index in `WIDTHS` of the smallest distance at which each pixel has another class, uint8 [h w].

    len(WIDTHS) where no width reaches one. The band of a width contains the pixels with its index or a smaller one
    (Kohli et al. 2009, section 5). Neither ignored pixels nor the image's edge make a band.
    """
    indices = np.full(label.shape, len(WIDTHS), np.uint8)
    for index in reversed(range(len(WIDTHS))):
        indices[near(label, WIDTHS[index], outside=False)] = index
    return indices
