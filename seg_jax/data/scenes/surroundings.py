"""Painters of the sky, the ground and the houses."""

from __future__ import annotations

import math

import numpy as np

from seg_jax.data.scenes.drawing import Canvas, Dice, Region, between, mix, noise, phase, planes
from seg_jax.data.scenes.palettes import (
    ASPHALT,
    BUILDING,
    GLASSES,
    LAMPLIGHT,
    PAINTS,
    PAVEMENT,
    ROAD,
    SKY,
    WALLS,
    WHITE,
)


def paint_sky(canvas: Canvas, dice: Dice) -> None:
    """The sky with its clouds."""
    weather, x, y = canvas.street.weather, canvas.x + dice(0, 64), canvas.y
    cover, soft = dice(0.42, 0.75), dice(3, 8)
    field = 0.6 * noise(canvas.table, x, y * 2.4, 2.3)
    field += 0.28 * noise(canvas.table, x, y * 2, 6.1)
    field += 0.12 * noise(canvas.table, x, y * 2, 15.7)
    cloud = np.minimum(np.maximum((field - cover) * soft + 0.5, 0), 1)
    fade = np.minimum(y / canvas.street.horizon, 1)
    color = planes(weather.zenith) + (planes(weather.horizon) - planes(weather.zenith)) * fade
    canvas.image[:] = color + (planes(weather.cloud) * (0.85 + 0.3 * field) - color) * cloud
    canvas.label[:] = SKY


def paint_ground(canvas: Canvas, dice: Dice) -> None:
    """Road, kerb and pavement, with markings and shadows."""
    street = canvas.street
    asphalt, flags = dice.color(ASPHALT), mix(dice.color(WALLS), (176, 170, 162), 0.6)
    middle, start, dash = (street.left + street.right) / 2 + dice(-0.3, 0.3), dice(0, 6), dice(3, 6)
    crossing = dice(6, 14) if dice.chance(0.45) else -9.0
    edge_lines, slab, worn = dice.chance(0.6), dice(0.7, 1.3), dice(0.55, 1)
    shaded_from = dice(-3, 5) if street.weather.sunny else math.inf
    patches = [(dice(-4, 4), dice(3, 16), dice(0.3, 1.4), dice(0.4, 3), dice(0.75, 1.2)) for _ in range(3)]

    region = canvas.region(canvas.x[0] - 1, canvas.x[-1] + 1, street.horizon, 2)
    assert region  # the horizon is never at the lower edge
    drop = np.maximum(canvas.y[region[0]] - street.horizon, 1e-3)  # the horizon itself is infinitely far
    z = street.focal * street.camera / drop
    x = (canvas.x[region[1]] - street.vanish) * (z / street.focal)
    beyond = np.maximum(street.left - x, x - street.right)  # metres outside the road, negative on it
    road = beyond < 0

    mark = between(x, middle - 0.09, middle + 0.09) & (phase(z + start, dash) < 0.5)
    if edge_lines:
        mark |= between(beyond, -0.42, -0.27)
    mark &= ~between(z, crossing - 1, crossing + 4)
    mark |= between(z, crossing, crossing + 3) & (phase(x, 1.1) < 0.5) & (beyond < -0.3)
    joint = ((phase(x, slab) < 0.07) | (phase(z, slab) < 0.07)) & (z < 16)  # farther ones are too fine

    shade = 1 + 0.16 * canvas.grain[region]
    shade *= np.where(road, 1, np.where(beyond < 0.2, 1.18, np.where(joint, 0.84, 1)))  # road, kerb, flags
    for left, near, width, length, gain in patches:
        patch = road & between(x, left, left + width) & between(z, near, near + length)
        shade *= np.where(patch, gain, 1)
    shade *= np.where(x * street.sun > shaded_from, 0.6, 1)
    color = np.where(road, planes(asphalt), planes(flags))
    color = np.where(mark & road, color + (planes(WHITE) - color) * worn, color)
    color = street.lit_pixels(color * shade, z)
    canvas.fill(region, color, PAVEMENT)
    canvas.fill(region, color, ROAD, road)


def paint_houses(canvas: Canvas, dice: Dice) -> None:
    """The skyline at the end of the street and both rows of houses."""
    street = canvas.street
    for _ in range(8):  # the skyline that closes the street
        x, z = dice(-70, 70), 170.0
        (x0, y0), (x1, y1) = street.project(x, dice(8, 34), z), street.project(x + dice(10, 30), 0, z)
        canvas.rectangle(x0, x1, y0, y1, street.lit(dice.color(WALLS), z), BUILDING)
    for side in (-1, 1):
        typical, ends = dice(5, 13), [1.0]
        while ends[-1] < 110:
            ends.append(ends[-1] + dice(8, 18) * (1 + ends[-1] / 60))  # far houses have few pixels: fewer of them
        for near, far in zip(ends[-2::-1], ends[:0:-1], strict=True):
            if not dice.chance(0.15):  # else a gap, through which trees and sky show
                _paint_house(canvas, dice, side, near, far, max(4.5, typical * dice(0.6, 1.5)))


def _paint_house(canvas: Canvas, dice: Dice, side: int, near: float, far: float, height: float) -> None:
    """A house from depth `near` to `far`: its front along the street, and the gable that faces the camera."""
    street = canvas.street
    color, glass, awning, shop = dice.color(WALLS), dice.color(GLASSES), dice.color(PAINTS), dice.chance(0.4)
    bay, storey, wide, tall = dice(1.7, 3.4), dice(2.8, 3.6), dice(0.2, 0.4), dice(0.22, 0.36)

    def wall(region: Region, along: np.ndarray, z: np.ndarray, gain: float) -> None:
        """A wall with columns `along` [columns] metres from its corner, at depth `z` [columns]."""
        up = street.camera + (street.horizon - canvas.y[region[0]]) * (z / street.focal)
        column, floor = np.floor(along / bay), np.floor(up / storey)
        across, rise = np.abs(along / bay - column - 0.5), np.abs(up / storey - floor - 0.5)
        window = (across < wide) & (rise < tall) & (up < height - 0.7)
        pane = canvas.table[floor.astype(np.int64) * 5 % 64, column.astype(np.int64) * 3 % 64]
        shade = gain * (1 + 0.14 * canvas.grain[region])
        shade *= np.where(up > height - 0.5, 1.16, np.where(rise > 0.46, 0.86, 1))  # cornice, storey lines
        paint = np.broadcast_to(planes(color), (3, *shade.shape))
        if shop:
            front = up < storey
            paint = np.where(front & (up > storey - 0.8), planes(awning), paint)
            window = np.where(front, (across < 0.44) & between(up, 0.5, storey - 0.8), window)
        seen = street.lit_pixels(np.where(window, planes(glass) * (0.6 + 0.9 * pane), paint * shade), z)
        if street.weather.night:
            seen = np.where(window & (pane > 0.62), planes(LAMPLIGHT) * pane, seen)
        canvas.fill(region, seen, BUILDING, (up >= 0) & (up < height))

    x = street.right + street.walk if side > 0 else street.left - street.walk
    corner, top = street.project(x, height, near)
    outer, base = street.project(x + 14 * side, 0, near)
    end = street.project(x, 0, far)[0]
    if region := canvas.region(min(corner, outer), max(corner, outer), top, base):
        along = (canvas.x[region[1]] - corner) * (near / street.focal)
        wall(region, along, np.array([near]), 0.92)
    if region := canvas.region(min(corner, end), max(corner, end), top, base):
        z = street.focal * x / (canvas.x[region[1]] - street.vanish)
        wall(region, z - near, z, 0.76 if side == street.sun else 1.06)
