"""Which part of a photograph a crop shows: around pixels of rare classes, and not one class alone.

Both need the label, so both are decided where the photograph is read, from the key of its example.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seg_jax.config import Size
from seg_jax.data.examples import class_counts
from seg_jax.data.labels import ignored_in

ATTEMPTS = 10  # as mmsegmentation's RandomCrop
GRID = 64  # rows and columns of a crop at most in which classes are counted: exact up to this size


def class_pixel(label: np.ndarray, pixels: Sequence[int], draws: Sequence[float]) -> tuple[int, int] | None:
    """A pixel (row, column) of a class that is drawn by its rarity; None where all are ignored.

    The class is one of the label's, with a probability in proportion to 1 / sqrt(its pixels in the training split).

    Args:
      label: class ids [h w].
      pixels: number of pixels of each class in the training split; (): every class is as rare.
      draws: two numbers in [0, 1), which decide the class and the pixel.
    """
    present = np.flatnonzero(class_counts(label, ignored_in(label))[:-1])
    if not len(present):
        return None
    counts = np.array(pixels, float)[present] if pixels else np.ones(len(present))
    bounds = np.cumsum(1 / np.sqrt(np.maximum(counts, 1)))
    drawn = int(np.searchsorted(bounds, draws[0] * bounds[-1], side="right"))
    members = label == present[min(drawn, len(present) - 1)]
    ends = np.cumsum(np.count_nonzero(members, axis=1))
    rank = min(int(draws[1] * ends[-1]), int(ends[-1]) - 1)
    row = int(np.searchsorted(ends, rank, side="right"))
    columns = np.flatnonzero(members[row])
    return row, int(columns[rank - int(ends[row])])  # counted from the row's end


def dominated(label: np.ndarray, matrix: np.ndarray, output: Size, most: float) -> bool:
    """Whether one class covers the share `most` of a crop's labelled pixels or more, or none is labelled.

    Args:
      label: class ids of the photograph [h w].
      matrix: float64 [2 3] from pixels of the crop to those of the photograph.
      output: (height, width) of the crop.
      most: the share.
    """
    rows, columns = (np.arange(step // 2, n, step) for n in output for step in (-(-n // GRID),))
    grid = np.stack([*np.meshgrid(rows, columns, indexing="ij"), np.ones((len(rows), len(columns)))])
    y, x = np.floor(np.tensordot(matrix, grid, axes=1) + 0.5).astype(np.int64)
    inside = (y >= 0) & (y < label.shape[0]) & (x >= 0) & (x < label.shape[1])
    ignored = ignored_in(label)
    counts = np.bincount(label[y[inside], x[inside]], minlength=ignored)[:ignored]
    return not counts.sum() or bool(counts.max() >= most * counts.sum())
