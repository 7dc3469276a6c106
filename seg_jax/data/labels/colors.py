"""Tables over all 2**24 colours: a pixel then costs the same whatever the number of classes.

The colour (r, g, b) has the place r + 256 g + 65536 b.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

BLOCK = 1 << 16  # pixels looked up at once, so that their places stay in the processor's cache
LEAF = 32  # edge of the cubes of colour space below which comparing is faster than dividing


def places(colors: np.ndarray) -> np.ndarray:
    """The places of colours [... 3], int64 [...]."""
    return colors.astype(np.int64) @ np.array([1, 1 << 8, 1 << 16])


def lookup(table: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The entry of `table` [2**24] for each colour of `mask` uint8 [... 3 or 4], [...]; the fourth is passed over."""
    channels = mask.shape[-1]
    flat = np.ascontiguousarray(mask).reshape(-1)
    n = flat.size // channels
    found = np.empty(n, table.dtype)
    # Words that overlap: a pixel's place is the lower three bytes of the four that begin with it. The last pixel has
    # no fourth byte.
    words = np.ndarray((n - 1,), "<u4", buffer=flat.data, strides=(channels,))
    for start in range(0, n - 1, BLOCK):
        here = np.bitwise_and(words[start : start + BLOCK], 0xFFFFFF, dtype=np.int64, casting="unsafe")
        found[start : start + len(here)] = table.take(here, mode="clip")
    found[-1] = table[places(flat[-channels:][:3])]
    return found.reshape(mask.shape[:-1])


def nearest_table(colors: np.ndarray, weights: Sequence[int] = (1, 1, 1)) -> np.ndarray:
    """The position in `colors` of the one nearest to every colour there is, uint8 [2**24]; see `lookup`.

    Exact: the difference of two squared distances is linear, so a colour that another one beats in all corners of a
    box loses in the whole box. Cubes are divided until few rivals are left. Of equally near colours the first wins.

    Args:
      colors: [k 3], 0..255, k <= 256.
      weights: of the squared differences in each channel, at most 16 altogether.
    """
    positions = np.arange(len(colors), dtype=np.int32)
    differences = np.arange(256, dtype=np.int32) - np.asarray(colors, np.int32)[:, ::-1, None]
    # [k blue-green-red 256]; the position in the lowest byte settles ties, and comes out with the minimum.
    keys = np.square(differences) * np.array(weights[::-1], np.int32)[:, None] * 256
    keys[:, 0] += positions[:, None]
    table = np.empty((256, 256, 256), np.uint8)

    def fill(corner: tuple[int, ...], edge: int, rivals: np.ndarray) -> None:
        cube = tuple(slice(low, low + edge) for low in corner)
        blue, green, red = (keys[rivals, axis, part] for axis, part in enumerate(cube))
        ends = [0, edge - 1]
        corners = blue[:, ends, None, None] + green[:, None, ends, None] + red[:, None, None, ends]
        corners = corners.reshape(len(rivals), 8)
        left = ~(corners < corners[:, None]).all(axis=-1).any(axis=-1)
        rivals, blue, green, red = rivals[left], blue[left], green[left], red[left]
        if len(rivals) == 1:
            table[cube] = rivals[0]
        elif edge > LEAF:
            for offset in itertools.product((0, edge // 2), repeat=3):
                fill(tuple(low + step for low, step in zip(corner, offset, strict=True)), edge // 2, rivals)
        else:
            best = np.full((edge,) * 3, np.iinfo(np.int32).max, np.int32)
            for b, g, r in zip(blue, green, red, strict=True):
                np.minimum(best, b[:, None, None] + (g[:, None] + r), out=best)
            np.bitwise_and(best, 255, out=table[cube], casting="unsafe")

    fill((0, 0, 0), 256, positions)
    return table.reshape(-1)
