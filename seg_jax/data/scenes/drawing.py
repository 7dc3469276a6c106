"""The renderer of the synthetic scenes: random numbers, a street with its camera and light, a canvas.

The pixels are the same on every platform and with every numpy >= 1.26; the hashes in the test check it. Random numbers
come from the frozen `RandomState`, only through `random_sample` (`normal` calls libm). Rasterising uses only operations
that IEEE 754 rounds exactly: + - * /, comparison and floor. No sin, exp or pow, no sum over an axis, no matmul.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

Color = tuple[float, ...]  # red, green, blue in 0..255
Palette = tuple[Color, ...]
Region = tuple[slice, slice]  # rows and columns of the canvas


class Weather(NamedTuple):
    """Colours of the sky, and of the light on surfaces as factors of red, green and blue."""

    zenith: Color
    horizon: Color
    cloud: Color
    light: Color
    sunny: bool = False
    night: bool = False


WEATHERS = (
    Weather((58, 118, 206), (186, 212, 238), (248, 248, 248), (1.10, 1.08, 1.02), sunny=True),
    Weather((88, 144, 214), (212, 224, 234), (242, 244, 248), (1.04, 1.04, 1.03), sunny=True),
    Weather((160, 168, 178), (204, 208, 210), (222, 224, 226), (0.86, 0.89, 0.92)),
    Weather((84, 98, 156), (250, 190, 134), (240, 168, 138), (1.00, 0.86, 0.74), sunny=True),
    Weather((122, 142, 196), (244, 208, 200), (250, 224, 216), (0.90, 0.84, 0.86)),
    Weather((20, 26, 56), (78, 74, 100), (54, 56, 78), (0.60, 0.61, 0.72), night=True),
)


class Dice:
    """Random numbers whose sequence depends only on `seed` and `index`."""

    def __init__(self, seed: int, index: int):
        bits = np.random.MT19937(np.random.SeedSequence([seed, index]))
        self.sample = np.random.RandomState(bits).random_sample

    def __call__(self, low: float, high: float) -> float:
        """A number from low to high."""
        return low + (high - low) * float(self.sample())

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self(0, 1) < probability

    def count(self, low: int, high: int) -> int:
        """An integer in low..high, both ends included."""
        return low + math.floor(self(0, 1) * (high - low + 1))

    def pick(self, items: Sequence):
        """One of the items, all equally likely."""
        return items[self.count(0, len(items) - 1)]

    def color(self, palette: Palette) -> Color:
        """A palette entry, varied in brightness and in each channel."""
        gain = self(0.8, 1.15)
        return tuple(gain * channel + self(-10, 10) for channel in self.pick(palette))


def mix(a: Color, b: Color, t: float) -> Color:
    """Linear interpolation: `a` at t = 0, `b` at t = 1."""
    return tuple(p + (q - p) * t for p, q in zip(a, b, strict=True))


def scale(color: Color, gain: float) -> Color:
    """A colour made brighter or darker by a factor."""
    return tuple(gain * channel for channel in color)


def planes(color: Color) -> np.ndarray:
    """A colour as an array [3 1 1], which broadcasts over a region."""
    return np.array(color, np.float64)[:, None, None]


def between(value: np.ndarray, low: float, high: float) -> np.ndarray:
    """Where low < value < high."""
    return (value > low) & (value < high)


def phase(value: np.ndarray, period: float) -> np.ndarray:
    """The position within the period, in 0..1."""
    turns = value / period
    return turns - np.floor(turns)


def noise(table: np.ndarray, x: np.ndarray, y: np.ndarray, frequency: float) -> np.ndarray:
    """Value noise [h w] in 0..1: `table` [n n] repeated over the plane, bilinear between its entries.

    Args:
      table: random values in 0..1.
      x: [w], horizontal coordinates.
      y: [h 1], vertical coordinates.
      frequency: table entries per unit of x and y.
    """
    row, column = np.floor(y * frequency), np.floor(x * frequency)
    a, b = y * frequency - row, x * frequency - column
    i, j, n = row[:, 0].astype(np.int64), column.astype(np.int64), len(table)
    lines = table[i % n] * (1 - a) + table[(i + 1) % n] * a
    return lines[:, j % n] * (1 - b) + lines[:, (j + 1) % n] * b


class Street:
    """A street and its camera, shared by all painters: x to the right, y up, z along the street."""

    def __init__(self, dice: Dice):
        self.horizon, self.vanish = dice(0.4, 0.57), dice(-0.2, 0.2)  # where the street ends in the picture
        self.camera, self.focal = dice(1.5, 2.3), dice(0.9, 1.1)  # height of the camera; picture heights
        half, shift = dice(2.8, 4.2), dice(-1.2, 1.2)
        self.left, self.right, self.walk = shift - half, shift + half, dice(2.4, 4)
        self.weather: Weather = dice.pick(WEATHERS)
        warm, gain = dice(-0.07, 0.07), dice(0.88, 1.12)
        red, green, blue = scale(self.weather.light, gain)
        self.light = (red * (1 + warm), green, blue * (1 - warm))
        self.sun = dice.pick((-1, 1))  # the side on which it stands
        self.haze = dice(140, 420)  # the distance at which half of a colour is lost to the air
        self.clutter = dice(0, 1)

    def project(self, x: float, y: float, z: float) -> tuple[float, float]:
        """Picture coordinates (x, y) of a point of the street in metres."""
        return self.vanish + self.focal * x / z, self.horizon + self.focal * (self.camera - y) / z

    def lit(self, color: Color, z: float) -> Color:
        """The colour of a surface at distance `z` in metres, under the light and through the haze."""
        t = z / (z + self.haze)
        haze = self.weather.horizon
        return tuple(c * k + (h - c * k) * t for c, k, h in zip(color, self.light, haze, strict=True))

    def lit_pixels(self, color: np.ndarray, z: np.ndarray) -> np.ndarray:
        """`lit` for [3 rows columns] at depths that broadcast to [rows columns]."""
        seen = color * planes(self.light)
        return seen + (planes(self.weather.horizon) - seen) * (z / (z + self.haze))


class Canvas:
    """The picture [3 h w] in 0..255 and its label [h w], with shapes that paint both at once."""

    def __init__(self, size: tuple[int, int], street: Street, dice: Dice):
        self.h, self.w = size
        self.street = street
        self.x = (np.arange(self.w) + (0.5 - 0.5 * self.w)) / self.h
        self.y = ((np.arange(self.h) + 0.5) / self.h)[:, None]
        self.image = np.zeros((3, self.h, self.w))
        self.label = np.zeros((self.h, self.w), np.uint8)
        self.table = dice.sample((64, 64))
        blotches, specks = noise(self.table, self.x, self.y, 9), noise(self.table, self.x + 7, self.y, 34)
        self.grain = 0.9 * blotches + 1.1 * specks - 1  # in -1..1
        self.texture = 1 + 0.1 * self.grain
        self.leaves = 0.6 * blotches + 1.4 * noise(self.table, self.x + 3, self.y, 47) - 1

    def region(self, x0: float, x1: float, y0: float, y1: float) -> Region | None:
        """The pixels whose centres are inside a rectangle; None if there are none."""
        middle = 0.5 * self.w - 0.5
        left, right = max(math.ceil(x0 * self.h + middle), 0), min(math.ceil(x1 * self.h + middle), self.w)
        top, bottom = max(math.ceil(y0 * self.h - 0.5), 0), min(math.ceil(y1 * self.h - 0.5), self.h)
        return (slice(top, bottom), slice(left, right)) if left < right and top < bottom else None

    def fill(self, region: Region, color: np.ndarray, name: int, mask: np.ndarray | bool = True) -> None:
        """Paints `color`, which broadcasts to [3 rows columns], where `mask` [rows columns] is true."""
        np.copyto(self.image[(slice(None), *region)], color, where=mask)
        np.copyto(self.label[region], np.uint8(name), where=mask)

    def textured(self, region: Region, color: Color) -> np.ndarray:
        """A colour with the grain of rough surfaces, [3 rows columns]."""
        return planes(color) * self.texture[region]

    def rectangle(self, x0: float, x1: float, y0: float, y1: float, color: Color, name: int) -> None:
        """An upright rectangle; x0 and x1 may be in either order."""
        if region := self.region(min(x0, x1), max(x0, x1), y0, y1):
            self.fill(region, self.textured(region, color), name)

    def polygon(self, points: Sequence[tuple[float, float]], color: Color, name: int) -> None:
        """A convex polygon; its corners may be in either direction."""
        xs, ys = zip(*points, strict=True)
        if region := self.region(min(xs), max(xs), min(ys), max(ys)):
            turn = (xs[1] - xs[0]) * (ys[2] - ys[1]) - (ys[1] - ys[0]) * (xs[2] - xs[1])
            corners = np.array(points if turn >= 0 else points[::-1])[..., None, None]
            x, y = corners[:, 0], corners[:, 1]  # [corners 1 1]
            ahead = np.concatenate((corners[1:], corners[:1])) - corners
            # One test per edge, [corners rows columns], on which side of it a pixel lies.
            inner = ahead[:, 0] * (self.y[region[0]] - y) >= ahead[:, 1] * (self.x[region[1]] - x)
            self.fill(region, self.textured(region, color), name, inner.all(axis=0))

    def within(self, region: Region, x: float, y: float, rx: float, ry: float) -> tuple[np.ndarray, ...]:
        """Coordinates in an ellipse, u [columns] and v [rows 1]: -1..1 from rim to rim."""
        return (self.x[region[1]] - x) / rx, (self.y[region[0]] - y) / ry

    def ellipse(self, x: float, y: float, rx: float, ry: float, color: Color, name: int) -> None:
        """A filled ellipse around (x, y)."""
        if region := self.region(x - rx, x + rx, y - ry, y + ry):
            u, v = self.within(region, x, y, rx, ry)
            self.fill(region, self.textured(region, color), name, u * u + v * v < 1)

    def foliage(self, x: float, y: float, r: float, color: Color, name: int) -> None:
        """A ball of leaves: the grain frays its edge, the sun lights one side."""
        if region := self.region(x - r, x + r, y - r, y + r):
            u, v = self.within(region, x, y, r, r)
            leaves = self.leaves[region]
            shade = 0.55 * leaves + (0.22 * self.street.sun * u - (0.3 * v - 1))
            self.fill(region, planes(color) * shade, name, u * u + v * v < 0.85 - 0.45 * leaves)

    def glow(self, x: float, y: float, r: float, color: Color) -> None:
        """Light around a lamp; labels are unchanged."""
        if region := self.region(x - r, x + r, y - r, y + r):
            u, v = self.within(region, x, y, r, r)
            fall = np.maximum(1 - u * u - v * v, 0)
            self.image[(slice(None), *region)] += planes(color) * (fall * fall * fall)

    def shadow(self, x: float, y: float, rx: float, ry: float) -> None:
        """A soft shadow under a thing; labels are unchanged."""
        if region := self.region(x - rx, x + rx, y - ry, y + ry):
            u, v = self.within(region, x, y, rx, ry)
            self.image[(slice(None), *region)] *= np.maximum(np.minimum(u * u + v * v, 1), 0.5)
