"""The colours of a label table in masks: exact, or the nearest one, and how far masks are from them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from seg_jax.data.labels import Color, LabelError, LabelTable
from seg_jax.data.labels.colors import indices, lookup, nearest_table

# Mean distance from the palette in RGB: masks damaged by JPEG have 5 to 10, photographs 28 and more.
MAX_DISTANCE = 20.0
BGR = (
    "the colours of this mask are in the label table once red and blue are exchanged: an array in RGB was written by "
    "OpenCV, which expects BGR. Write the masks again with mask[..., ::-1], or exchange red and blue in the table."
)


class Palette:
    """The colours with a meaning in the masks of a label table.

    Attributes:
      colors: the colours, int32 [k 3].
      ids: the class id of each colour, [k] of the table's type.

    Raises:
      LabelError: a colour has two meanings, or there are more than 256 of them.
    """

    def __init__(self, table: LabelTable):
        self.meaning: dict[Color, int] = {}
        for i, color in table.color_meanings():
            other = self.meaning.setdefault(color, i)
            if other != i:
                raise LabelError(
                    f"the colour {color} means both {table.name(other)!r} and {table.name(i)!r}; keep one of them in "
                    '"color_values" of class_names.json.'
                )
        if not 1 <= len(self.meaning) <= 256:
            raise LabelError(f"{len(self.meaning)} colours have a meaning in masks; there can be 1 to 256.")
        self.colors = np.array(list(self.meaning), np.int32)
        self.ids = np.array(list(self.meaning.values()), table.dtype)

    @cached_property
    def _exact(self) -> np.ndarray:
        """uint16 [2**24]: 1 + class id, 0 for an unknown colour. Memory pages without a colour are never allocated."""
        table = np.zeros(1 << 24, np.uint16)
        table[indices(self.colors)] = self.ids.astype(np.uint16) + 1
        return table

    @cached_property
    def _position(self) -> np.ndarray:
        """uint8 [2**24]: the position of the nearest colour."""
        return nearest_table(self.colors)

    @cached_property
    def _nearest(self) -> np.ndarray:
        """uint8 [2**24]: the class id of the nearest colour."""
        return self.ids.take(self._position)

    def exact(self, mask: np.ndarray) -> np.ndarray:
        """Colours, uint8 [h w 3 or 4] -> class ids, uint8 [h w]; an alpha channel is ignored.

        Raises:
          LabelError: the mask has colours without a meaning; names each with its pixel count.
        """
        entries = lookup(self._exact, mask)
        if entries.all():
            return (entries - 1).astype(self.ids.dtype)
        if lookup(self._exact, mask[..., 2::-1]).all():
            raise LabelError(BGR)
        colors, counts = np.unique(mask[entries == 0][:, :3], axis=0, return_counts=True)
        order = np.argsort(-counts, kind="stable")[:8]
        shown = ", ".join(f"{tuple(colors[i].tolist())} ({counts[i]} pixels)" for i in order)
        more = f" and {len(colors) - 8} more" if len(colors) > 8 else ""
        grey = "; their channels are equal: if these are class indices, save one channel"
        raise LabelError(
            f'mask colour {shown}{more} is not in the label table. Add it to a class\'s "color_values" or to '
            "\"ignore_colors\" in class_names.json, or set config.data.mask_format='nearest' for masks that JPEG has "
            f"damaged{grey if (colors == colors[:, :1]).all() else ''}."
        )

    def nearest(self, mask: np.ndarray) -> np.ndarray:
        """Colours, uint8 [h w 3 or 4] -> ids of the classes with the nearest colour in RGB, uint8 [h w].

        Exact; ties go to the colour that is first in the table.
        """
        return lookup(self._nearest, mask)

    def restored(self, mask: np.ndarray) -> np.ndarray:
        """Colours, uint8 [h w 3 or 4] -> the nearest colours of the table, uint8 [h w 3]."""
        return self.colors.astype(np.uint8)[lookup(self._position, mask)]

    def distance(self, mask: np.ndarray) -> np.ndarray:
        """The distance of each pixel from the nearest colour in RGB, 0..441, float32 [h w]."""
        difference = mask[..., :3] - self.colors[lookup(self._position, mask)]
        return np.sqrt(np.square(difference).sum(axis=-1), dtype=np.float32)

    def check(self, mask: np.ndarray) -> None:
        """Refuses a picture that has other colours than the table, such as a photograph.

        Raises:
          LabelError: the mean distance of the pixels from the nearest colour exceeds `MAX_DISTANCE`.
        """
        sample = mask[::2, ::2]
        distance = self.distance(sample)
        if distance.mean() > MAX_DISTANCE:
            if self.distance(sample[..., 2::-1]).mean() <= MAX_DISTANCE:
                raise LabelError(BGR)
            colors, counts = np.unique(sample[distance > MAX_DISTANCE][:, :3], axis=0, return_counts=True)
            raise LabelError(
                f"the mean distance of this mask from the colours of the label table is {distance.mean():.0f}, where "
                f"JPEG alone leaves less than {MAX_DISTANCE:.0f}: these are other colours, most of all "
                f"{tuple(colors[counts.argmax()].tolist())}. Add it to the table, or use the table of this data set."
            )


@dataclass(frozen=True)
class Distances:
    """Distances of the pixels of masks from the nearest colour of a palette.

    Attributes:
      masks: number of masks measured.
      counts: int64 [443], number of pixels by distance in RGB, rounded up.
      mean: the mean distance, before rounding.
    """

    masks: int
    counts: np.ndarray
    mean: float

    @classmethod
    def measure(cls, palette: Palette, masks: Iterable[np.ndarray]) -> Distances:
        """The distances of all pixels of some masks, uint8 [h w 3 or 4]."""
        counts, total, n = np.zeros(443, np.int64), 0.0, 0
        for mask in masks:
            distance = palette.distance(mask)
            counts += np.bincount(np.ceil(distance).astype(np.int64).reshape(-1), minlength=443)
            total += float(distance.sum(dtype=np.float64))
            n += 1
        return cls(n, counts, total / max(int(counts.sum()), 1))

    def within(self, distance: int) -> float:
        """The share of pixels within `distance` of a colour of the palette."""
        return float(self.counts[: distance + 1].sum() / max(int(self.counts.sum()), 1))

    def __str__(self) -> str:
        farthest = int(np.flatnonzero(self.counts).max(initial=0))
        return (
            f"{self.masks} masks: {self.within(0):.1%} of the pixels have a colour of the table, {self.within(20):.1%} "
            f"are within 20 of one in RGB; on average {self.mean:.1f}, at most {farthest}"
        )
