"""Class ids, colours, and the error of labels that cannot be understood."""

from __future__ import annotations

import colorsys
from typing import Any

import numpy as np

from seg_jax.runtime.errors import SegJaxError

IGNORE = 255  # in label arrays of bytes, and the default of a stored ignored value
MOST_CLASSES = 65535  # ids and the ignored value have 16 bits
UNKNOWN = 254  # not a class id in tables of at most 254 classes
IGNORE_GROUP = "ignore"  # in groups of classes: the name of the group that is ignored
Color = tuple[int, int, int]  # red, green, blue in 0..255


class LabelError(SegJaxError, ValueError):
    """A label table or a mask that cannot be understood."""


def label_type(classes: int) -> np.dtype:
    """The type of label arrays of that many classes: a byte for up to 255, above that uint16."""
    return np.dtype(np.uint8 if classes <= IGNORE else np.uint16)


def ignored_in(label: Any) -> int:
    """The value of ignored pixels in a label array, of NumPy or JAX: the largest of its type, which no class can be."""
    return int(np.iinfo(label.dtype).max)


def palette(k: int) -> tuple[Color, ...]:
    """`k` well separated colours, for tables without colours of their own; the same every time."""
    # Steps of the golden ratio in hue never repeat and stay far from their predecessors.
    steps = ((0.61803399 * i % 1.0, 0.55 + 0.4 * (i % 2), 0.95 - 0.25 * (i % 3)) for i in range(k))
    return tuple(
        (round(255 * r), round(255 * g), round(255 * b)) for r, g, b in (colorsys.hsv_to_rgb(*s) for s in steps)
    )
