"""Overlapping windows: images of any size through a network of one size, blended smoothly, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np

from seg_jax.config import Size

Engine = Callable[[np.ndarray], np.ndarray]  # [n h w c] in 0..255 -> class probabilities, float32 [n h w k]

MAX_BAND = 64  # rows of a band; later stages copy its probabilities, so a whole window's height would need more memory


class Image(Protocol):
    """An image [h w c] that gives its rows."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(h, w, c)."""

    def __getitem__(self, rows: slice, /) -> np.ndarray:
        """Some rows [n w c]."""


def starts(length: int, window: int, overlap: float) -> list[int]:
    """The starts of windows along an axis, evenly spaced; the first window is at 0, the last one ends at the end.

    Args:
      length: length of the axis in pixels.
      window: length of a window in pixels, at most `length`.
      overlap: smallest share of a window, in [0, 1), that neighbours have in common.
    """
    step = max(1, math.floor(window * (1 - overlap)))
    count = 1 + math.ceil((length - window) / step)
    return [round(i * (length - window) / max(count - 1, 1)) for i in range(count)]


def weights(size: Size) -> np.ndarray:
    """Weights of a window's pixels, float32 [h w 1]: 1 in the middle, a squared sine towards the edges, never 0.

    A network has least context at the edges of its input; where windows overlap, the one with the nearer middle has
    more weight.
    """
    axes = [np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2 + 1e-3 for n in size]
    return np.outer(*axes).astype(np.float32)[..., None]


def in_multiples(engine: Engine, unit: int) -> Engine:
    """The engine for images padded to multiples of `unit` pixels, as evaluation pads them, so that few are compiled."""

    def padded(images: np.ndarray) -> np.ndarray:
        height, width = images.shape[1:3]
        images = np.pad(images, ((0, 0), (0, -height % unit), (0, -width % unit), (0, 0)), mode="edge")
        return engine(images)[:, :height, :width]

    return padded


def slide(
    engine: Engine, image: Image, *, window: Size, overlap: float, batch: int
) -> Iterator[tuple[int, np.ndarray]]:
    """The probabilities of a large image, in bands of rows from the top, to save memory.

    Args:
      engine: called with arrays of one shape, [batch *window c], so that it is compiled once.
      image: [h w c] of any size, an array or something that reads rows when they are asked for; an image smaller than a
        window is padded by repeating its border.
      window: (height, width).
      overlap: see `starts`.
      batch: number of windows in a call of the engine.

    Yields:
      (first row, probabilities float32 [rows w k]), with at most `MAX_BAND` rows.
    """
    height, width = image.shape[:2]
    pads = [(0, max(0, w - n)) for n, w in zip((height, width), window, strict=True)]
    blend = weights(window)
    columns = starts(width + pads[1][1], window[1], overlap)
    rows = starts(height + pads[0][1], window[0], overlap)
    sums = totals = np.zeros(0)
    for top, following in zip(rows, [*rows[1:], height + pads[0][1]], strict=True):
        strip = np.pad(image[top : top + window[0]], (*pads, (0, 0)), mode="edge")
        tiles = [strip[:, left : left + window[1]] for left in columns]
        for left, probabilities in zip(columns, _in_batches(engine, tiles, batch), strict=True):
            if not sums.size:
                sums = np.zeros((window[0], strip.shape[1], probabilities.shape[-1]), np.float32)
                totals = np.zeros((window[0], strip.shape[1], 1), np.float32)
            sums[:, left : left + window[1]] += blend * probabilities
            totals[:, left : left + window[1]] += blend
        done = following - top  # no later window reaches these rows
        for first in range(0, min(done, height - top), MAX_BAND):
            band = slice(first, min(first + MAX_BAND, done, height - top))
            yield top + first, sums[band, :width] / totals[band, :width]
        for array in (sums, totals):
            array[: window[0] - done] = array[done:]
            array[window[0] - done :] = 0


def _in_batches(engine: Engine, tiles: list[np.ndarray], batch: int) -> Iterator[np.ndarray]:
    for first in range(0, len(tiles), batch):
        part = tiles[first : first + batch]
        filled = np.stack(part + [part[-1]] * (batch - len(part)))
        yield from engine(filled)[: len(part)]
