"""The shapes in which the photographs of a split pass through the network: one, or a few for different sizes."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seg_jax.config import Size
from seg_jax.data import fitting
from seg_jax.data.examples import Examples

MOST = 6  # shapes of a split, and programs that are compiled for it; fewer where fewer batches do
CANDIDATES = 64  # shapes from which these are made: the search compares all pairs
UNIT = 32  # sides are rounded up to multiples of this, or to a power of two times it
PIXELS = 2**22  # pixels of a batch of several photographs at their own scale


@dataclass(frozen=True)
class Group:
    """Photographs that pass in batches of one shape.

    Attributes:
      indices: in the split.
      size: (height, width) of the images in a batch.
      batch_size: number of images in a batch.
      scored: (height, width) of the labels in a batch, where they have their own.
      fit: makes the arrays of a batch; None: all photographs have the same size.
    """

    indices: np.ndarray
    size: Size
    batch_size: int
    scored: Size | None = None
    fit: fitting.Padded | None = None


def plan(examples: Examples, *, short_side: int, batch_size: int, parts: int) -> tuple[Group, ...]:
    """The photographs of a split by shapes; says in the log how many there are where there are several.

    Args:
      examples: the split, checked.
      short_side: see `fitting.network_size`.
      batch_size: number of images in a batch; fewer where large ones would have more than `PIXELS` together.
      parts: number of devices that share a batch, of which each gets one image at least.
    """
    if not examples.sizes:
        return (Group(np.arange(len(examples)), examples.size, batch_size),)
    sides = np.array([(*fitting.network_size(size, short_side), *size) for size in examples.sizes])
    groups = []
    for shape, indices in merged(sides, most=min(MOST, math.ceil(len(examples) / batch_size))):
        size, scored = (shape[0], shape[1]), (shape[2], shape[3])
        room = max(1, PIXELS // max(math.prod(size), math.prod(scored)))
        batch = min(batch_size // parts, math.ceil(len(indices) / parts), max(1, room // parts)) * parts
        fit = fitting.Padded(size, scored, short_side, depth=examples.depth, classes=len(examples.table))
        groups.append(Group(indices, size, batch, scored if short_side else None, fit))
    shown = ", ".join(f"{group.size[0]}x{group.size[1]} ({len(group.indices)})" for group in groups)
    logging.info(
        "evaluation of %r: images of %s pixels, padded to %d shapes, a program each: %s",
        examples.split,
        examples.described_size,
        len(groups),
        shown,
    )
    return tuple(groups)


def merged(sides: np.ndarray, *, most: int) -> list[tuple[tuple[int, ...], np.ndarray]]:
    """At most `most` shapes that take in all sizes, with the indices of those that each takes; largest shape first.

    Two shapes become one, again and again, where that adds fewest pixels.

    Args:
      sides: int [n s]: height and width of each image, then of its label.
      most: number of shapes.
    """
    unit = UNIT
    while len(shapes := np.unique(rounded := -(-sides // unit) * unit, axis=0)) > CANDIDATES:
        unit *= 2
    groups = [(shape, np.flatnonzero((rounded == shape).all(1))) for shape in shapes]

    def pixels(shape: np.ndarray, count: int) -> int:
        return count * int(shape.reshape(-1, 2).prod(1).sum())

    def added(pair: Sequence[tuple[np.ndarray, np.ndarray]]) -> int:
        (one, ones), (other, others) = pair
        whole = pixels(np.maximum(one, other), len(ones) + len(others))
        return whole - pixels(one, len(ones)) - pixels(other, len(others))

    while len(groups) > most:
        i, j = min(
            itertools.combinations(range(len(groups)), 2), key=lambda pair: added([groups[pair[0]], groups[pair[1]]])
        )
        (one, ones), (other, others) = groups[i], groups.pop(j)
        groups[i] = (np.maximum(one, other), np.sort(np.concatenate([ones, others])))
    groups.sort(key=lambda group: -pixels(group[0], 1))
    return [(tuple(shape.tolist()), indices) for shape, indices in groups]
