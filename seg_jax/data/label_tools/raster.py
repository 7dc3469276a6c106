"""Outlines and bitmaps of annotations -> the pixels of an object: one rasteriser for every label tool.

A pixel belongs to a polygon if its centre does: x and y count from the upper left corner of the picture, and the pixel
in row r and column c has its centre at (c + 0.5, r + 0.5). Rings are united by the even-odd rule, so holes stay holes.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from seg_jax.config import Size
from seg_jax.data.decoder import Encoded
from seg_jax.data.images import DataError, read_stored

BEYOND = 1.0  # pixels that a point may be outside of the picture: tools write its border as -0.5, 0, or the width + 0.5
LOOP = 4.0, 0.01  # a crossing counts if it cuts off more than these pixels, and more than this share of the whole
CHUNK = 1 << 22  # pairs of edges that are compared at once: 100 MiB
FEW = 64  # edges of which all pairs are compared: to divide them would take longer


class Patch(NamedTuple):
    """Pixels of an object: bool [h w], whose upper left one is in that row and column of the picture."""

    top: int
    left: int
    pixels: np.ndarray


def polygon(rings: Sequence[np.ndarray], size: Size, *, points: np.ndarray | None = None) -> Patch:
    """The pixels inside of rings; a ring inside of another one is a hole.

    Args:
      rings: float [n 2] with x and y in pixels.
      size: (height, width) of the picture.
      points: float [n 2], what has to be in the picture where the rings are made of it, such as the centre of a circle
        whose outline may reach beyond; None: the rings themselves.

    Raises:
      DataError: a ring has less than three points, a point is outside of the picture, or a ring crosses itself.
    """
    for ring in rings:
        _check(ring, ring if points is None else points, size)
    edges = np.concatenate([np.stack([ring, np.roll(ring, -1, axis=0)], axis=1) for ring in rings])  # [n 2 2]
    low = np.floor(edges.min(axis=(0, 1))).astype(int).clip(0)
    high = np.minimum(np.ceil(edges.max(axis=(0, 1))).astype(int), size[::-1])
    width, height = np.maximum(high - low, 0)
    if not width or not height:
        return Patch(0, 0, np.zeros((0, 0), bool))
    edges = edges - low
    (x0, y0), (x1, y1) = edges[:, 0].T, edges[:, 1].T
    # Each edge crosses the rows whose centres are in [its upper end, its lower end), so that a corner counts once.
    first = np.ceil(np.minimum(y0, y1) - 0.5).clip(0, height).astype(int)
    last = np.ceil(np.maximum(y0, y1) - 0.5).clip(0, height).astype(int)
    count = last - first
    edge = np.repeat(np.arange(len(edges)), count)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count) + first[edge]
    x = x0[edge] + (row + 0.5 - y0[edge]) * (x1 - x0)[edge] / (y1 - y0)[edge]
    column = np.ceil(x - 0.5).clip(0, width).astype(int)  # the first pixel whose centre is not left of the crossing
    crossings = np.bincount(row * (width + 1) + column, minlength=height * (width + 1))
    inside = np.cumsum(crossings.reshape(height, width + 1)[:, :-1], axis=1) % 2 == 1
    return Patch(int(low[1]), int(low[0]), inside)


def parts(rings: Sequence[np.ndarray], size: Size) -> Patch:
    """The pixels inside of any of several rings, as the parts of one object that something covers; see `polygon`."""
    if len(rings) == 1:
        return polygon(rings, size)
    whole = np.zeros(size, bool)
    for ring in rings:
        paint(whole, polygon([ring], size), True)
    return Patch(0, 0, whole)


def ellipse(center: tuple[float, float], radii: tuple[float, float], degrees: float = 0.0) -> np.ndarray:
    """The outline of an ellipse as float [n 2], turned clockwise, within a twentieth of a pixel."""
    # The sagitta of an arc is r (1 - cos(step / 2)). Radii far above those of any picture do not need finer steps.
    step = max(2 * math.acos(max(0.0, 1 - 0.05 / max(*radii, 1.0))), 1e-3)
    angles = np.linspace(0, 2 * np.pi, max(8, math.ceil(2 * np.pi / step)), endpoint=False)
    return turned(np.stack([radii[0] * np.cos(angles), radii[1] * np.sin(angles)], axis=1), degrees) + center


def turned(points: np.ndarray, degrees: float) -> np.ndarray:
    """Points [n 2] turned clockwise around the origin, where y points down."""
    sin, cos = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    return points @ np.array([[cos, sin], [-sin, cos]])


def rectangle(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    """Its corners as float [4 2]."""
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], float)


def bitmap(text: str, left: int, top: int, size: Size) -> Patch:
    """A PNG in base64, whose pixels other than 0 (or opaque ones) are the object's.

    Raises:
      DataError: it is no such text, or the bitmap exceeds the picture.
    """
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise DataError(f"the bitmap is no base64 ({error}); export the annotations again") from error
    return png(content, left, top, size)


def png(content: bytes, left: int, top: int, size: Size) -> Patch:
    """The same of the content of a PNG file."""
    stored = read_stored(Encoded(content, "the bitmap"), pages=True)
    pixels = stored.pixels if stored.alpha is None else stored.alpha
    return checked(Patch(top, left, (pixels if pixels.ndim == 2 else pixels.max(axis=-1)) > 0), size)


def checked(patch: Patch, size: Size) -> Patch:
    """The patch, if it is inside of the picture.

    Raises:
      DataError: it is not.
    """
    height, width = patch.pixels.shape
    if min(patch.top, patch.left) < 0 or patch.top + height > size[0] or patch.left + width > size[1]:
        raise DataError(
            f"a bitmap of {height}x{width} at row {patch.top}, column {patch.left} exceeds the picture of "
            f"{size[0]}x{size[1]} (height x width); export the annotations of this photograph again"
        )
    return patch


def paint(label: np.ndarray, patch: Patch, value: int | bool) -> None:
    """Writes a value to the pixels of a patch, in place."""
    height, width = patch.pixels.shape
    label[patch.top : patch.top + height, patch.left : patch.left + width][patch.pixels] = value


def _check(ring: np.ndarray, points: np.ndarray, size: Size) -> None:
    """Refuses a ring without area or whose inside is not what somebody meant, and points outside of the picture."""
    if not np.isfinite(ring).all():
        raise DataError("a polygon has a point that is not finite; correct it")
    if (different := len({*map(tuple, ring.tolist())})) < 3:
        raise DataError(
            f"a polygon has {different} different points, and needs three to enclose an area; complete it, or delete it"
        )
    beyond = np.maximum(-points, points - size[::-1]).max(axis=1)
    if (beyond > BEYOND).any():
        x, y = points[beyond.argmax()]
        raise DataError(
            f"the point ({x:g}, {y:g}) is outside of the picture, which is {size[1]} wide and {size[0]} high; move it "
            "into the picture, or look whether the annotations belong to another size of the photograph"
        )
    if crossing := _crossing(ring):
        raise DataError(
            f"the outline crosses itself near ({crossing[0]:.0f}, {crossing[1]:.0f}), so what is inside cannot be "
            "told; bring its points into order, or draw two polygons"
        )


def _crossing(ring: np.ndarray) -> tuple[float, float] | None:
    """Where a ring first crosses itself so that the part behind the crossing counts (`LOOP`); None if nowhere.

    Smaller loops are where a hand trembled. They change no more pixels than the width of a line. Only edges of one part
    of the picture are compared, so that the time grows little faster than the number of points.
    """
    start, end = ring, np.roll(ring, -1, axis=0)
    boxes = np.minimum(start, end), np.maximum(start, end)
    first: tuple[tuple[int, int], tuple[float, float]] | None = None
    regions = [np.arange(len(ring))]
    while regions:
        edges = regions.pop()
        if halves := _halves(edges, *boxes):
            regions += halves
        elif found := _first_crossing(ring, edges):
            first = min(first or found, found)
    return first[1] if first else None


def _halves(edges: np.ndarray, low: np.ndarray, high: np.ndarray) -> list[np.ndarray]:
    """The edges on either side of a line, those that reach it in both; [] if they are few or many reach it.

    Args:
      edges: their numbers, int [m], in ascending order as those of the halves.
      low: the upper left corners of all edges, float [n 2].
      high: their lower right corners.
    """
    if len(edges) <= FEW:
        return []
    middle = np.median((low[edges] + high[edges]) / 2, axis=0)
    ways = [[edges[low[edges, i] <= middle[i]], edges[high[edges, i] >= middle[i]]] for i in (0, 1)]
    best = min(ways, key=lambda halves: max(map(len, halves)))
    return best if max(map(len, best)) <= 0.65 * len(edges) else []


def _first_crossing(ring: np.ndarray, edges: np.ndarray) -> tuple[tuple[int, int], tuple[float, float]] | None:
    """(numbers of two edges, point) of the first crossing that counts between edges [m] of a ring; None for none."""
    start, end = ring, np.roll(ring, -1, axis=0)
    twice = _cross(start, end)
    before = np.cumsum(twice) - twice  # twice the area that the origin and the edges before each one enclose
    c, d = start[edges], end[edges]
    rows = max(1, CHUNK // len(edges))
    for top in range(0, len(edges), rows):
        a, b = c[top : top + rows, None], d[top : top + rows, None]
        on_both_sides = _side(a, b, c) * _side(a, b, d) < 0  # [rows m]
        on_both_sides &= _side(c, d, a) * _side(c, d, b) < 0
        row, column = np.nonzero(on_both_sides)
        i, j = edges[row + top], edges[column]
        i, j = i[i < j], j[i < j]
        direction, other = end[i] - start[i], end[j] - start[j]
        share = _cross(start[j] - start[i], other) / _cross(direction, other)
        point = start[i] + share[:, None] * direction
        loop = (_cross(point, end[i]) + before[j] - before[i + 1] + _cross(start[j], point)) / 2
        loops = np.abs([loop, twice.sum() / 2 - loop])  # what is between the two edges, and the rest
        most = np.maximum(loops.max(axis=0), abs(twice.sum()) / 2)
        counts = np.flatnonzero(loops.min(axis=0) > np.maximum(LOOP[0], LOOP[1] * most))
        if counts.size:
            k = counts[0]
            return (int(i[k]), int(j[k])), (float(point[k, 0]), float(point[k, 1]))
    return None


def _side(a: np.ndarray, b: np.ndarray, point: np.ndarray) -> np.ndarray:
    """On which side of the line from a to b a point is, as the sign."""
    return np.sign(_cross(b - a, point - a))


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
