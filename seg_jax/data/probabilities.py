"""Class probabilities at another size, whole or in bands of rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image

MAX_BAND = 64  # rows of a band of probabilities


def resize_probabilities(probabilities: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes class probabilities, float32 [h w k], to `size` = (height, width); bilinear, antialiased."""
    if probabilities.shape[:2] == tuple(size):
        return probabilities
    resized = np.empty((*size, probabilities.shape[-1]), np.float32)
    top = 0
    for band in resized_bands(probabilities, size):
        resized[top : top + len(band)] = band
        top += len(band)
    return resized


def resized_bands(probabilities: np.ndarray, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """`resize_probabilities` in bands of at most `MAX_BAND` rows from the top, float32 [rows w k], to save memory.

    Pillow resizes the rows. Resized in parts, columns would get other numbers than resized as a whole, so they are
    resized here by Pillow's method: where an image grows, every number equals Pillow's.
    """
    if probabilities.shape[:2] == tuple(size):
        yield from (probabilities[top : top + MAX_BAND] for top in range(0, size[0], MAX_BAND))
        return
    rows, weights = _triangles(probabilities.shape[0], size[0])
    for top in range(0, size[0], MAX_BAND):
        band, shares = rows[top : top + MAX_BAND], weights[top : top + MAX_BAND]
        first, last = band.min(), band.max()
        wide = np.empty((last + 1 - first, size[1], probabilities.shape[-1]), np.float32)
        for k in range(probabilities.shape[-1]):
            plane = Image.fromarray(np.ascontiguousarray(probabilities[first : last + 1, :, k]))
            wide[..., k] = np.asarray(plane.resize((size[1], len(wide)), Image.Resampling.BILINEAR))
        resized = np.empty((len(band), *wide.shape[1:]), np.float32)
        for i, (sources, factors) in enumerate(zip(band - first, shares, strict=True)):
            total = np.zeros(wide.shape[1:])
            for source, factor in zip(sources[factors > 0], factors[factors > 0], strict=True):
                total += wide[source] * factor
            resized[i] = total
        yield resized


def _triangles(old: int, new: int) -> tuple[np.ndarray, np.ndarray]:
    """(indices, weights), [new n] each, of the at most n old pixels that make up each new one along an axis.

    The weights form a triangle around the new pixel's centre, two pixels wide in the smaller of the two images.
    """
    scale = old / new
    reach = max(scale, 1.0)
    middle = (np.arange(new) + 0.5) * scale
    first = np.maximum(middle - reach + 0.5, 0).astype(int)
    stop = np.minimum(middle + reach + 0.5, old).astype(int)
    indices = first[:, None] + np.arange((stop - first).max())
    weights = np.maximum(1 - np.abs((indices - middle[:, None] + 0.5) * (1 / reach)), 0)
    weights[indices >= stop[:, None]] = 0
    # cumsum adds one after the other, as Pillow does; sum has another order.
    return np.minimum(indices, old - 1), weights / np.cumsum(weights, axis=1)[:, -1:]
