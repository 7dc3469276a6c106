"""Tables over all 2**24 colours: the time for a pixel does not depend on the number of classes.

The colour (r, g, b) has the index r + 256 g + 65536 b.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

BLOCK = 1 << 16  # pixels looked up at once, so that their indices stay in the processor's cache
NEUTRAL = ((0, 0, 0), (255, 255, 255), (128, 128, 128))
DISTINCT = 48  # levels of a channel by which two colours of areas side by side are told apart at a glance
LEAF = 32  # edge of the cubes of colour space at which comparing is faster than dividing


def indices(colors: np.ndarray) -> np.ndarray:
    """The indices of colours [... 3] in a table, int64 [...]."""
    return colors.astype(np.int64) @ np.array([1, 1 << 8, 1 << 16])


def unlike(colors: np.ndarray) -> tuple[int, int, int]:
    """A colour easily told from each of `colors` [k 3], k < 512: black, else white, else grey, else the least similar.

    The last is of a grid of eight levels a channel, of which no more than k have a distance of 0.
    """
    levels = np.linspace(0, 255, 8).round().astype(np.int64)
    grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(-1, 3)
    choices = np.concatenate([NEUTRAL, grid])
    distances = np.abs(choices[:, None] - np.asarray(colors, np.int64)).max(-1).min(-1)
    chosen = next((i for i in range(len(NEUTRAL)) if distances[i] >= DISTINCT), int(distances.argmax()))
    return tuple(choices[chosen].tolist())


def lookup(table: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The entry [...] of `table` [2**24] for each colour of `mask`, uint8 [... 3 or 4]; a fourth channel is ignored."""
    channels = mask.shape[-1]
    flat = np.ascontiguousarray(mask).reshape(-1)
    n = flat.size // channels
    entries = np.empty(n, table.dtype)
    # Overlapping words: a pixel's index is the lower three of the four bytes that begin with the pixel. The last pixel
    # has no fourth byte.
    words = np.ndarray((n - 1,), "<u4", buffer=flat.data, strides=(channels,))
    for start in range(0, n - 1, BLOCK):
        block = np.bitwise_and(words[start : start + BLOCK], 0xFFFFFF, dtype=np.int64, casting="unsafe")
        entries[start : start + len(block)] = table.take(block, mode="clip")
    entries[-1] = table[indices(flat[-channels:][:3])]
    return entries.reshape(mask.shape[:-1])


def nearest_table(colors: np.ndarray, weights: Sequence[int] = (1, 1, 1)) -> np.ndarray:
    """For every possible colour, the position of the nearest one in `colors`, uint8 [2**24]; see `lookup`.

    Exact: the difference of two squared distances is linear, so a colour that another one beats in all corners of a
    box loses in the whole box. Cubes are divided until few candidates are left. Ties go to the first colour.

    Args:
      colors: [k 3], 0..255, k <= 256.
      weights: weights of the squared differences in each channel; their sum is at most 16.
    """
    positions = np.arange(len(colors), dtype=np.int32)
    differences = np.arange(256, dtype=np.int32) - np.asarray(colors, np.int32)[:, ::-1, None]
    # [k blue-green-red 256]; the position in the lowest byte breaks ties and is read off the minimum.
    keys = np.square(differences) * np.array(weights[::-1], np.int32)[:, None] * 256
    keys[:, 0] += positions[:, None]
    table = np.empty((256, 256, 256), np.uint8)

    def fill(corner: tuple[int, ...], edge: int, candidates: np.ndarray) -> None:
        cube = tuple(slice(low, low + edge) for low in corner)
        blue, green, red = (keys[candidates, axis, part] for axis, part in enumerate(cube))
        ends = [0, edge - 1]
        corners = blue[:, ends, None, None] + green[:, None, ends, None] + red[:, None, None, ends]
        corners = corners.reshape(len(candidates), 8)
        unbeaten = ~(corners < corners[:, None]).all(axis=-1).any(axis=-1)
        candidates, blue, green, red = candidates[unbeaten], blue[unbeaten], green[unbeaten], red[unbeaten]
        if len(candidates) == 1:
            table[cube] = candidates[0]
        elif edge > LEAF:
            for offset in itertools.product((0, edge // 2), repeat=3):
                fill(tuple(low + step for low, step in zip(corner, offset, strict=True)), edge // 2, candidates)
        else:
            best = np.full((edge,) * 3, np.iinfo(np.int32).max, np.int32)
            for b, g, r in zip(blue, green, red, strict=True):
                np.minimum(best, b[:, None, None] + (g[:, None] + r), out=best)
            np.bitwise_and(best, 255, out=table[cube], casting="unsafe")

    fill((0, 0, 0), 256, positions)
    return table.reshape(-1)
