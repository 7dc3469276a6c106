"""The values or colours of masks, counted for each file: how many pixels, and where they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from seg_jax.data.images import Stored, is_grey
from seg_jax.data.labels import Color

MAX_CODES = 4096  # values or colours counted in a file, the most frequent ones; damage and photographs have more
RARE = 0.005  # share of the pixels below which a value between two others is damage, even if it is the only one
MAX_DAMAGED = 0.5  # share of the pixels that damage can have; small masks are mostly border
GAP = 8  # least distance of two values between which others are taken for damage: class indices are closer


@dataclass(frozen=True)
class Tally:
    """The values or colours of one mask, or of several.

    Attributes:
      name: its file.
      size: (height, width); (0, 0) for several masks.
      colors: whether they are colours, red * 65536 + green * 256 + blue, rather than values.
      codes: every value or colour, ascending; int [n].
      pixels: number of pixels of each, int [n].
      inside: number of those whose eight neighbours are equal to them, int [n].
      between: number of those within two pixels of both smaller and greater ones, in any channel, int [n].
      palette: value -> its colour in the palette of a palette file.
      in_alpha: whether all pixels have one colour, and only the alpha channel differs.
      grey: whether the colours have three equal channels.
    """

    name: str
    size: tuple[int, int]
    colors: bool
    codes: np.ndarray
    pixels: np.ndarray
    inside: np.ndarray
    between: np.ndarray
    palette: Mapping[int, Color] = field(default_factory=dict)
    in_alpha: bool = False
    grey: bool = False

    @cached_property
    def values(self) -> frozenset[int]:
        """The values or colours."""
        return frozenset(self.codes.tolist())

    @property
    def colored(self) -> bool:
        """Whether its palette shows other colours than grey."""
        return any(len(set(color)) > 1 for color in self.palette.values())


def color_codes(pixels: np.ndarray) -> np.ndarray:
    """Values [h w] unchanged, colours [h w 3] as red * 65536 + green * 256 + blue, [h w]."""
    return pixels if pixels.ndim == 2 else pixels.astype(np.int32) @ np.array([65536, 256, 1], np.int32)


def tally(name: str, stored: Stored) -> Tally:
    """Counts the content of a mask."""
    pixels = stored.pixels
    codes, positions = _coded(pixels)
    channels: np.ndarray = pixels.reshape(*pixels.shape[:2], -1)
    inside: Any = np.ones(channels.shape[:2], bool)
    between: Any = inside
    if len(codes) > 1:
        low, high = _around(channels, np.minimum), _around(channels, np.maximum)
        inside = (low == high).all(-1)
        low, high = _around(low, np.minimum), _around(high, np.maximum)
        between = ((low < channels) & (channels < high)).any(-1)
    parts = positions, positions[inside], positions[between]
    counts = [np.bincount(part.reshape(-1), minlength=len(codes)) for part in parts]
    if len(codes) > MAX_CODES:
        most = np.sort(np.argsort(-counts[0], kind="stable")[:MAX_CODES])
        codes, counts = codes[most], [count[most] for count in counts]
    palette: dict[int, Color] = {}
    if stored.palette is not None:
        for value in codes[codes < len(stored.palette)].tolist():
            red, green, blue = stored.palette[value].tolist()
            palette[value] = red, green, blue
    in_alpha = stored.alpha is not None and len(codes) == 1 and bool((stored.alpha != stored.alpha[0, 0]).any())
    grey = pixels.ndim == 3 and is_grey(pixels)
    all_pixels, inner, blended = counts
    size = pixels.shape[0], pixels.shape[1]
    return Tally(
        name, size, pixels.ndim == 3, codes.astype(np.int64), all_pixels, inner, blended, palette, in_alpha, grey
    )


def _coded(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(every value or colour, ascending; the position of each pixel's among them, [h w])."""
    if pixels.ndim == 3:
        codes, positions = np.unique(color_codes(pixels), return_inverse=True)
        return codes, positions.reshape(pixels.shape[:2])  # NumPy 2.0 returns it flat
    present = np.bincount(pixels.reshape(-1)) > 0  # np.unique sorts: 89 ms for 2048x1024, this 13
    return np.flatnonzero(present), (np.cumsum(present) - 1)[pixels]


def _around(channels: np.ndarray, extreme: np.ufunc) -> np.ndarray:
    """The least or the greatest number among a pixel and its eight neighbours, [h w c]; `extreme`: of two numbers."""
    padded = np.pad(channels, ((1, 1), (1, 1), (0, 0)), mode="edge")
    rows = extreme(extreme(padded[:-2], padded[1:-1]), padded[2:])
    return extreme(extreme(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])


def total(tallies: Sequence[Tally]) -> Tally:
    """The sum of some tallies of one kind."""
    codes, inverse = np.unique(np.concatenate([one.codes for one in tallies]), return_inverse=True)
    pixels, inside, between = (
        np.bincount(inverse, weights=np.concatenate([getattr(one, name) for one in tallies]), minlength=len(codes))
        for name in ("pixels", "inside", "between")
    )
    palette = {value: color for one in reversed(tallies) for value, color in one.palette.items()}
    return Tally("", (0, 0), tallies[0].colors, codes, pixels, inside, between, palette)


def damage(whole: Tally) -> np.ndarray:
    """Which values or colours are damage rather than classes, bool [n]: what interpolation and antialiasing leave.

    They have no area of their own, occur between two others, and there are several of them or they are rare. A thin
    object, such as a pole, differs: it also has neighbours of one class on both sides, or some area.
    """
    share = whole.pixels / whole.pixels.sum()
    areas = whole.inside > 0.01 * whole.pixels
    none = np.zeros(len(whole.codes), bool)
    if areas.sum() < 2:
        return none
    blended = ~areas & (whole.between > 0.9 * whole.pixels)
    if not whole.colors:
        kept = whole.codes[areas]
        above = np.searchsorted(kept, whole.codes)
        inner = (above > 0) & (above < len(kept))
        blended[inner] &= (kept[above[inner]] - kept[above[inner] - 1]) >= GAP
        blended &= inner
    if not (blended.sum() > 1 or (share[blended] < RARE).any()) or share[blended].sum() > MAX_DAMAGED:
        return none
    if blended.sum() > 1:
        # Resizing also overshoots, to values beyond the two: rare ones, or ones beside the value of a class.
        blended |= ~areas & (share < RARE)
        blended |= _ripples(whole, areas)
    return blended


def _ripples(whole: Tally, areas: np.ndarray) -> np.ndarray:
    """Values or colours that are close to a much more frequent one with an area, bool [n].

    Values only if they have no area, because those of other classes are close. The overshoot of a colour may have one.
    """
    times = 2 if whole.colors else 5
    channels = np.stack([whole.codes >> 16, whole.codes >> 8 & 255, whole.codes & 255]) if whole.colors else whole.codes
    channels = channels.reshape(-1, len(whole.codes))
    found = np.zeros(len(whole.codes), bool)
    for one in np.flatnonzero(areas):
        near = np.abs(channels - channels[:, one : one + 1]).max(axis=0) < GAP
        found |= near & (~areas | whole.colors) & (times * whole.pixels < whole.pixels[one])
    return found


def described(whole: Tally, which: np.ndarray) -> str:
    """Some values or colours in words, the most frequent first."""
    order = np.flatnonzero(which)[np.argsort(-whole.pixels[which], kind="stable")]
    codes = whole.codes[order].tolist()
    shown = ", ".join(str((c >> 16, c >> 8 & 255, c & 255)) if whole.colors else str(c) for c in codes[:6])
    return shown + (f" and {len(codes) - 6} more" if len(codes) > 6 else "")
