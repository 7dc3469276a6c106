"""Painters of single things on the street: trees, cars, poles and people."""

from __future__ import annotations

import math

from seg_jax.data.scenes.drawing import Canvas, Color, Dice, scale
from seg_jax.data.scenes.palettes import (
    BARK,
    CAR,
    COATS,
    GLASS,
    HAIRS,
    HEADLIGHT,
    INSETS,
    LAMPLIGHT,
    LEAVES,
    METALS,
    PAINTS,
    PERSON,
    PLATES,
    POLE,
    SIGNALS,
    SKINS,
    TAILLIGHT,
    TREE,
    TROUSERS,
    TYRE,
    WHITE,
)


def paint_tree(canvas: Canvas, dice: Dice, x: float, z: float) -> None:
    """A tree: trunk, then leaves from dark to bright."""
    street, s = canvas.street, canvas.street.focal / z
    px, py = street.project(x, 0, z)
    stem, thick, crown, leaf = dice(1.5, 2.7), s * dice(0.13, 0.24), dice(1.2, 2.4), dice.color(LEAVES)
    canvas.shadow(px - 0.4 * s * crown * street.sun, py, 1.2 * s * crown, 0.3 * s * crown)
    fork, thin = py - s * (stem + crown), 0.7 * thick
    trunk = ((px - thick, py), (px + thick, py), (px + thin, fork), (px - thin, fork))
    canvas.polygon(trunk, street.lit(dice.color(BARK), z), TREE)
    middle = py - s * (stem + 0.75 * crown)
    for i in range(11):  # low and dark leaves first, the bright top last
        rise = i / 5 - 1
        dx, dy = dice(-0.62, 0.62) * (1.2 - 0.6 * rise * rise), dice(-0.2, 0.2) - 0.62 * rise
        green = street.lit(scale(leaf, 0.86 + 0.16 * rise), z)
        canvas.foliage(px + s * crown * dx, middle + s * crown * dy, s * crown * dice(0.42, 0.62), green, TREE)


def paint_car(canvas: Canvas, dice: Dice, x: float, z: float) -> None:
    """A car or van along the street: on the left of the road its front faces us, on the right its rear."""
    street, s = canvas.street, canvas.street.focal / z
    px, py = street.project(x, 0, z)
    front, van = (street.left + street.right) / 2 > x, dice.chance(0.2)
    paint, half, end = dice.color(PAINTS), dice(0.85, 0.98), z + dice(3.9, 4.8)
    belt, top = (1.1, dice(1.9, 2.3)) if van else (0.88, dice(1.38, 1.6))
    hood, boot = ((0.3, 0.8), (0.05, 0.15)) if van else ((1.1, 1.8), (0.2, 0.6))
    near, far = (hood, boot) if front else (boot, hood)
    sill, eave, back, heel = (
        z + near[0],
        z + near[1],
        end - far[1],
        end - far[0],
    )  # depths of the cabin's corners
    inner, lid = x - math.copysign(half, x), half - 0.14  # the flank that faces us; half the roof's width
    roof = x - math.copysign(lid, x)

    def shape(color: Color, *corners: tuple[float, ...]) -> None:
        canvas.polygon([street.project(*corner) for corner in corners], street.lit(color, z), CAR)

    def across(color: Color, low: tuple[float, float, float], high: tuple[float, float, float]) -> None:
        """A trapezium across the car between two edges, each given as (half its width, y, z)."""
        (a, *lower), (b, *upper) = low, high
        shape(color, (x - a, *lower), (x + a, *lower), (x + b, *upper), (x - b, *upper))

    canvas.shadow((px + street.project(x, 0, end)[0]) / 2, py - 0.05 * s, 1.4 * half * s, 0.4 * s)
    for side in (-0.68, 0.68):
        canvas.rectangle(px + s * (side - 0.13), px + s * (side + 0.13), py - 0.4 * s, py, TYRE, CAR)
    flank = scale(paint, 0.9 if (x > 0) == (street.sun < 0) else 0.62)
    shape(flank, (inner, 0.25, z), (inner, 0.25, end), (inner, belt, end), (inner, belt, z))
    for at in (z + 0.8, end - 0.8):
        wx, wy = street.project(inner, 0.33, at)
        rim = abs(street.project(inner, 0, at - 0.33)[0] - wx)
        canvas.ellipse(wx, wy, rim, 0.33 * street.focal / at, TYRE, CAR)
    across(paint, (half, belt, z), (half, belt, end))
    shape(flank, (inner, belt, sill), (inner, belt, heel), (roof, top, back), (roof, top, eave))
    low, high = belt + 0.05, top - 0.14
    panes = (
        (inner, low, sill + 0.3),
        (inner, low, heel - 0.4),
        (roof, high, back - 0.1),
        (roof, high, eave + 0.15),
    )
    shape(GLASS, *panes)
    across(paint, (lid, top, eave), (lid, top, back))
    across(paint, (half, belt, sill), (lid, top, eave))
    across(GLASS, (half - 0.08, belt + 0.04, sill), (lid - 0.06, top - 0.1, eave))
    across(paint, (half, 0.45, z), (half - 0.05, belt, z))
    across(scale(paint, 0.5), (half - 0.06, 0.22, z), (half, 0.46, z))
    across(WHITE, (0.26, 0.46, z), (0.26, 0.58, z))
    lamp = HEADLIGHT if front else TAILLIGHT
    for side in (-1, 1):
        lx, ly = px + side * s * (half - 0.2), py - 0.7 * s
        canvas.rectangle(lx - 0.15 * s, lx + 0.15 * s, ly - 0.09 * s, ly + 0.09 * s, lamp, CAR)
        if street.weather.night:
            canvas.glow(lx, ly, (0.9 if front else 0.5) * s, lamp)


def paint_crossing_car(canvas: Canvas, dice: Dice, x: float, z: float) -> None:
    """A car across the street, seen from its side."""
    street, s = canvas.street, canvas.street.focal / z
    px, py = street.project(x, 0, z)
    paint, way, top = dice.color(PAINTS), dice.pick((-1, 1)), dice(1.4, 1.65)

    def shape(color: Color, *corners: tuple[float, float]) -> None:
        canvas.polygon([(px + way * s * a, py - s * b) for a, b in corners], street.lit(color, z), CAR)

    canvas.shadow(px, py, 2.5 * s, 0.35 * s)
    shape(paint, (-1.55, 0.85), (-1.1, top), (0.45, top), (1.1, 0.85))
    shape(GLASS, (-1.38, 0.9), (-1.02, top - 0.1), (-0.38, top - 0.1), (-0.38, 0.9))
    shape(GLASS, (-0.28, 0.9), (-0.28, top - 0.1), (0.4, top - 0.1), (0.9, 0.9))
    shape(paint, (-2.1, 0.3), (-2.12, 0.72), (-1.95, 0.92), (1.2, 0.92), (2.0, 0.76), (2.1, 0.5), (2.05, 0.3))
    shape(scale(paint, 0.6), (-2.05, 0.24), (-2.1, 0.42), (2.08, 0.42), (2.0, 0.24))
    shape(TAILLIGHT, (-2.12, 0.62), (-2.1, 0.8), (-1.9, 0.8), (-1.9, 0.62))
    shape(HEADLIGHT, (1.85, 0.56), (1.85, 0.7), (2.06, 0.7), (2.1, 0.56))
    for wheel in (-1.3, 1.32):
        for r, color in ((0.36, TYRE), (0.2, METALS[0])):
            canvas.ellipse(px + way * s * wheel, py - 0.34 * s, r * s, r * s, street.lit(color, z), CAR)


def paint_pole(canvas: Canvas, dice: Dice, x: float, z: float) -> None:
    """A pole with a traffic sign, a street lamp or a traffic light."""
    street, s = canvas.street, canvas.street.focal / z
    px, py = street.project(x, 0, z)
    kind, thick = dice.pick(("disc", "triangle", "board", "lamp", "signal")), s * dice(0.15, 0.2)
    top = py - s * (dice(4.6, 6) if kind == "lamp" else dice(2.3, 3.1))
    metal, plate, inset = (street.lit(dice.color(palette), z) for palette in (METALS, PLATES, INSETS))

    def box(x0: float, x1: float, y0: float, y1: float, color: Color) -> None:
        """A rectangle around the pole's top, in metres."""
        canvas.rectangle(px + x0 * s, px + x1 * s, top + y0 * s, top + y1 * s, color, POLE)

    canvas.shadow(px, py, 0.5 * s, 0.12 * s)
    canvas.rectangle(px - thick, px + thick, top, py, metal, POLE)
    canvas.rectangle(px + 0.4 * thick, px + thick, top, py, scale(metal, 0.7), POLE)  # makes it look round
    if kind == "disc":
        for r, color in ((0.5 * s, plate), (0.31 * s, inset)):
            canvas.ellipse(px, top, r, r, color, POLE)
    elif kind == "triangle":
        for r, color in ((0.62 * s, plate), (0.35 * s, inset)):
            canvas.polygon([(px - r, top + 0.8 * r), (px + r, top + 0.8 * r), (px, top - r)], color, POLE)
    elif kind == "board":
        box(-0.64, 0.64, -0.44, 0.44, plate)
        box(-0.46, 0.46, -0.13, 0.13, inset)
    elif kind == "lamp":
        reach, night = math.copysign(1.5, -x), street.weather.night  # out over the road
        box(0, reach, 0, 0.25, metal)
        box(reach - 0.5, reach + 0.5, 0, 0.4, LAMPLIGHT if night else metal)
        if night:
            canvas.glow(px + reach * s, top + 0.1 * s, 1.6 * s, scale(LAMPLIGHT, 0.7))
    else:
        box(-0.36, 0.36, -0.7, 0.7, scale(metal, 0.4))
        on = dice.count(0, 2)
        for i, color in enumerate(SIGNALS):
            shown = color if i == on else scale(color, 0.25)
            canvas.ellipse(px, top + (i - 1) * 0.44 * s, 0.19 * s, 0.19 * s, shown, POLE)


def paint_person(canvas: Canvas, dice: Dice, x: float, z: float) -> None:
    """A standing or walking person."""
    street, s = canvas.street, canvas.street.focal / z * dice(1.0, 1.3)
    px, py = street.project(x, 0, z)
    coat, trousers, bag = dice.color(COATS), dice.color(TROUSERS), dice.color(COATS)
    stride, hem, swing = dice(0.08, 0.36), dice(0.6, 0.9), dice(0.3, 0.5)

    def shape(color: Color, *corners: tuple[float, float]) -> None:
        canvas.polygon([(px + s * a, py - s * b) for a, b in corners], street.lit(color, z), PERSON)

    canvas.shadow(px, py, 0.6 * s, 0.14 * s)
    for side, gain in ((-1, 0.8), (1, 1)):
        foot, hip, hand = side * stride, side * 0.13, side * swing
        shape(scale(trousers, gain), (foot - 0.1, 0), (foot + 0.1, 0), (hip + 0.14, 0.95), (hip - 0.14, 0.95))
        shape(scale(coat, 0.8), (hand - 0.08, 0.8), (hand + 0.08, 0.8), (side * 0.3, 1.46), (side * 0.14, 1.46))
    shape(coat, (-0.25, hem), (0.25, hem), (0.29, 1.4), (0.16, 1.5), (-0.16, 1.5), (-0.29, 1.4))
    if dice.chance(0.35):
        shape(bag, (-0.2, 0.95), (0.2, 0.95), (0.18, 1.4), (-0.18, 1.4))
    canvas.ellipse(px, py - 1.66 * s, 0.15 * s, 0.18 * s, street.lit(dice.color(HAIRS), z), PERSON)
    canvas.ellipse(px, py - 1.62 * s, 0.12 * s, 0.14 * s, street.lit(dice.color(SKINS), z), PERSON)
