"""Drawn street scenes: a segmentation task that needs no download, for tests, demos and first runs.

A scene is a small world in metres (a road between two rows of houses, with trees, cars, poles and people)
seen through a pinhole camera and painted from far to near. Picture coordinates are in picture heights, x from
the middle and y from the top: a scene looks the same at every size, a wider picture sees more of the street.
What `drawing` says of platforms holds here too: only exactly rounded operations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from seg_jax.data.scenes.drawing import (
    Canvas,
    Color,
    Dice,
    Palette,
    Region,
    Street,
    between,
    mix,
    noise,
    phase,
    planes,
    scale,
)

NAMES: tuple[str, ...] = ("sky", "building", "road", "pavement", "tree", "car", "pole and sign", "person")
COLORS: tuple[tuple[int, int, int], ...] = (
    *((70, 130, 180), (70, 70, 70), (128, 64, 128), (244, 35, 232)),
    *((107, 142, 35), (0, 0, 142), (220, 220, 0), (220, 20, 60)),
)
SKY, BUILDING, ROAD, PAVEMENT, TREE, CAR, POLE, PERSON = range(8)
MIN_SIZE = 32  # below this a person is thinner than a pixel

# Every palette shares tones with other classes on purpose (grey houses, roads, poles and cars; red bricks,
# coats and signs; green leaves, cars and coats): who sees only the colour of a pixel must fail.
WALLS: Palette = ((168, 158, 146), (196, 178, 146), (150, 84, 66), (122, 96, 80), (128, 132, 138))
WALLS += ((206, 200, 190), (104, 116, 132), (178, 132, 104), (160, 172, 160), (214, 188, 150))
ASPHALT: Palette = ((92, 92, 96), (116, 112, 108), (74, 76, 84))
LEAVES: Palette = ((58, 104, 42), (84, 122, 48), (44, 84, 50), (112, 130, 52), (176, 118, 44), (134, 92, 50))
BARK: Palette = ((92, 72, 54), (110, 100, 90), (70, 58, 50))
PAINTS: Palette = ((196, 198, 202), (40, 42, 46), (158, 30, 34), (36, 66, 128), (112, 118, 124))
PAINTS += ((228, 226, 220), (44, 92, 66), (206, 166, 52), (96, 60, 48))
METALS: Palette = ((120, 124, 128), (70, 74, 78), (52, 66, 60), (150, 150, 146))
PLATES: Palette = ((214, 178, 20), (30, 80, 170), (190, 30, 34), (232, 232, 226), (30, 112, 70))
INSETS: Palette = ((236, 236, 230), (30, 60, 140), (34, 34, 36))
SIGNALS: Palette = ((240, 50, 40), (246, 190, 50), (60, 220, 120))
COATS: Palette = ((178, 40, 44), (40, 60, 120), (36, 38, 44), (222, 218, 210), (64, 112, 78))
COATS += ((200, 150, 50), (120, 72, 120), (96, 100, 108), (60, 128, 160), (214, 112, 60))
TROUSERS: Palette = ((40, 46, 70), (34, 34, 38), (92, 84, 72))
SKINS: Palette = ((232, 190, 160), (206, 156, 120), (150, 104, 76), (98, 66, 48))
HAIRS: Palette = ((30, 24, 20), (96, 66, 40), (170, 150, 120))
GLASSES: Palette = ((46, 58, 72), (70, 84, 100), (96, 112, 128))
GLASS, TYRE, WHITE, LAMPLIGHT = (46, 58, 72), (24, 24, 26), (236, 236, 228), (248, 206, 130)
HEADLIGHT, TAILLIGHT = (250, 246, 220), (196, 26, 28)


def _paint_sky(canvas: Canvas, dice: Dice) -> None:
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


def _paint_ground(canvas: Canvas, dice: Dice) -> None:
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


def _paint_houses(canvas: Canvas, dice: Dice) -> None:
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
    """A house from depth `near` to `far`: its front along the street and the gable that faces the camera."""
    street = canvas.street
    color, glass, awning, shop = dice.color(WALLS), dice.color(GLASSES), dice.color(PAINTS), dice.chance(0.4)
    bay, storey, wide, tall = dice(1.7, 3.4), dice(2.8, 3.6), dice(0.2, 0.4), dice(0.22, 0.36)

    def wall(region: Region, along: np.ndarray, z: np.ndarray, gain: float) -> None:
        """A wall whose columns lie `along` [columns] metres from its corner, at depth `z` [columns]."""
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


def _paint_tree(canvas: Canvas, dice: Dice, x: float, z: float) -> None:
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


def _paint_car(canvas: Canvas, dice: Dice, x: float, z: float) -> None:
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


def _paint_crossing_car(canvas: Canvas, dice: Dice, x: float, z: float) -> None:
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


def _paint_pole(canvas: Canvas, dice: Dice, x: float, z: float) -> None:
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


def _paint_person(canvas: Canvas, dice: Dice, x: float, z: float) -> None:
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


def _place_things(street: Street, dice: Dice) -> list[tuple[Callable, float, float]]:
    """What stands on the street: (painter, x, z), far ones first."""
    things: list[tuple[Callable, float, float]] = []
    taken: list[float] = []  # columns of the thin things, which would hide one another

    def beside(low: float, high: float) -> float:
        """A place `low` to `high` metres from the kerb."""
        away = dice(low, high)
        return street.left - away if dice.chance(0.5) else street.right + away

    def add(paint: Callable, counts: Sequence, room: float, depths: Sequence, place: Callable[[], float]):
        """Adds the first count of things to an empty scene, about the second to a cluttered one."""
        (few, many), (near, far) = counts, depths
        for _ in range(few + math.floor((many - few) * street.clutter + dice(0, 1))):
            for _ in range(8):  # after so many tries the street counts as full
                x = place()
                first = max(near, street.focal * abs(x) / 0.6)  # nearer, it would be outside a 4:3 picture
                z = dice(first, max(far, first + 2))
                column = street.project(x, 0, z)[0]
                if all(abs(column - other) >= room for other in taken):
                    things.append((paint, x, z))
                    if room:
                        taken.append(column)
                    break

    add(_paint_tree, (2, 6), 0, (7, 22), lambda: beside(0.8, street.walk + 0.5))
    # Cars stand at the kerb or drive along the middle of a lane.
    add(_paint_car, (1, 4), 0, (6, 16), lambda: beside(*dice.pick(((-1.2, -1.0), (-2.1, -1.9)))))
    add(_paint_crossing_car, (0, 1), 0, (8, 14), lambda: dice(-4, 4))
    add(_paint_pole, (2, 4), 0.12, (5, 9), lambda: beside(0.2, 0.7))
    add(_paint_person, (3, 6), 0.08, (5, 8.5), lambda: beside(0.4, 2))
    add(_paint_person, (0, 2), 0.08, (5, 9), lambda: dice(street.left, street.right))
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
    """Draws scene `index` of the endless data set `seed`, always as the same bytes.

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
    _paint_sky(canvas, dice)
    _paint_ground(canvas, dice)
    _paint_houses(canvas, dice)
    for paint, x, z in _place_things(street, dice):
        paint(canvas, dice, x, z)
    # Last: only here does the number of draws depend on the size, and the content must not.
    return _develop(canvas.image, dice), canvas.label
