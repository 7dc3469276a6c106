"""Synthetic street scenes: a segmentation task that needs no download, for tests, demos and first runs.

A scene is a small world in metres (a road between two rows of houses, with trees, cars, poles and people) seen through
a pinhole camera and painted from far to near. Picture coordinates are in picture heights, x from the middle and y from
the top: a scene looks the same at every size, and a wider picture shows more of the street. As in `drawing`, only
exactly rounded operations are used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from seg_jax.data.scenes.drawing import Canvas, Dice, Street
from seg_jax.data.scenes.surroundings import paint_ground, paint_houses, paint_sky
from seg_jax.data.scenes.things import paint_car, paint_crossing_car, paint_person, paint_pole, paint_tree

MIN_SIZE = 32  # below this a person is thinner than a pixel


def _place_things(street: Street, dice: Dice) -> list[tuple[Callable, float, float]]:
    """The things on the street: (painter, x, z), far ones first."""
    things: list[tuple[Callable, float, float]] = []
    occupied: list[float] = []  # columns of thin things, which would hide one another

    def beside(low: float, high: float) -> float:
        """A position `low` to `high` metres from the kerb."""
        away = dice(low, high)
        return street.left - away if dice.chance(0.5) else street.right + away

    def add(paint: Callable, counts: Sequence, room: float, depths: Sequence, position: Callable[[], float]):
        """Adds counts[0] things to an empty scene, about counts[1] to a cluttered one."""
        (few, many), (near, far) = counts, depths
        for _ in range(few + math.floor((many - few) * street.clutter + dice(0, 1))):
            for _ in range(8):  # after 8 attempts the street counts as full
                x = position()
                first = max(near, street.focal * abs(x) / 0.6)  # nearer, it would be outside a 4:3 picture
                z = dice(first, max(far, first + 2))
                column = street.project(x, 0, z)[0]
                if all(abs(column - other) >= room for other in occupied):
                    things.append((paint, x, z))
                    if room:
                        occupied.append(column)
                    break

    add(paint_tree, (2, 6), 0, (7, 22), lambda: beside(0.8, street.walk + 0.5))
    # Cars stand at the kerb or drive along the middle of a lane.
    add(paint_car, (1, 4), 0, (6, 16), lambda: beside(*dice.pick(((-1.2, -1.0), (-2.1, -1.9)))))
    add(paint_crossing_car, (0, 1), 0, (8, 14), lambda: dice(-4, 4))
    add(paint_pole, (2, 4), 0.12, (5, 9), lambda: beside(0.2, 0.7))
    add(paint_person, (3, 6), 0.08, (5, 8.5), lambda: beside(0.4, 2))
    add(paint_person, (0, 2), 0.08, (5, 9), lambda: dice(street.left, street.right))
    return sorted(things, key=lambda thing: -thing[2])


def _develop(image: np.ndarray, dice: Dice) -> np.ndarray:
    """Lens blur and sensor noise: image [3 h w], of any range, to uint8 [h w 3]."""
    image = np.pad(image, ((0, 0), (1, 1), (1, 1)), mode="edge")
    image = (image[:, :-2] + image[:, 2:]) * 0.15 + image[:, 1:-1] * 0.7
    image = (image[:, :, :-2] + image[:, :, 2:]) * 0.15 + image[:, :, 1:-1] * 0.7
    noise = dice(3, 9)
    image += dice.sample(image.shape) * (2 * noise) - noise
    image = np.minimum(np.maximum(np.floor(image + 0.5), 0), 255)
    return np.ascontiguousarray(image.astype(np.uint8).transpose(1, 2, 0))


def scene(seed: int, index: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Renders scene `index` of the endless data set `seed`, always as the same bytes.

    Args:
      seed: the data set, >= 0.
      index: the scene within it, >= 0.
      size: (height, width) in pixels, each >= 32. It changes the resolution, not the content.

    Returns:
      image: uint8 [h w 3], RGB.
      label: uint8 [h w], positions in `NAMES`, 0..7; no pixel is ignored.

    Raises:
      ValueError: `size` is too small, or `seed` or `index` negative.
    """
    if min(size) < MIN_SIZE:
        raise ValueError(
            f"size = {tuple(size)} (height, width) is too small to show people and poles: both must be >= "
            f"{MIN_SIZE}. Draw a larger scene, such as (96, 128), and shrink it."
        )
    if min(seed, index) < 0:
        raise ValueError(f"seed = {seed}, index = {index}: both must be >= 0. Scenes are counted from 0.")
    dice = Dice(seed, index)
    street = Street(dice)
    canvas = Canvas(size, street, dice)
    paint_sky(canvas, dice)
    paint_ground(canvas, dice)
    paint_houses(canvas, dice)
    for paint, x, z in _place_things(street, dice):
        paint(canvas, dice, x, z)
    # Last, since only here the number of random numbers depends on the size, and the content must not.
    return _develop(canvas.image, dice), canvas.label
