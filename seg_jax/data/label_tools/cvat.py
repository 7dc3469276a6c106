"""CVAT for images 1.1: `annotations.xml` with polygons, boxes, ellipses and masks, drawn in the order of z_order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from seg_jax.config import Size
from seg_jax.data.examples import Bad
from seg_jax.data.images import DataError
from seg_jax.data.label_tools import raster, rle
from seg_jax.data.label_tools.photographs import Photographs, split_of
from seg_jax.data.label_tools.raster import Patch
from seg_jax.data.label_tools.scene import Annotations, Scene, Thing, hex_color, named
from seg_jax.data.labels import Color

BEGIN = 1 << 16  # bytes in which the first photograph is named
SHAPES = ("polygon", "box", "ellipse", "mask", "polyline", "points", "cuboid", "skeleton")


def recognize(photographs: Photographs) -> list[Path]:
    """The XML files that begin as CVAT's."""
    found = []
    for path in photographs.files:
        if path.suffix.lower() == ".xml" and path.is_file():
            with path.open("rb") as file:
                begin = file.read(BEGIN)
            if b"<annotations" in begin and (b"<image " in begin or b"<meta>" in begin):
                found.append(path)
    return found


def read(photographs: Photographs, files: list[Path]) -> Annotations:
    """The annotations of all files.

    Raises:
      DataError: a file is no whole XML, or of tracks in a video.
    """
    scenes: dict[str, list[Scene]] = {}
    bad: dict[str, list[Bad]] = {}
    listed: dict[str, None] = {}
    colors: dict[str, Color] = {}
    for file in files:
        try:
            top = ElementTree.parse(file).getroot()
        except ElementTree.ParseError as error:
            raise DataError(f"{file} is not whole XML ({error}). Export it again, or restore it.") from error
        if top.find("track") is not None:
            raise DataError(f"{file} has tracks of a video. Export the task as 'CVAT for images 1.1'.")
        for label in top.iterfind("meta//label"):
            name, color = label.findtext("name", ""), hex_color(label.findtext("color", ""))
            listed |= {name: None} if name else {}
            colors |= {name: color} if name and color else {}
        for element in top.iterfind("image"):
            text = element.get("name", "")
            place = f"image {element.get('id', '')} ({text})"
            photo = photographs.find(text, file)
            split = element.get("subset") or (split_of(photographs.root, photo) if photo else "")
            if photo is None:
                why = f"there is no photograph {text!r} below {photographs.root}; add it, or remove the entry."
                bad.setdefault(split, []).append(Bad(f"{file}, {place}", why))
                continue
            try:
                scene = Scene(photo, file, _size(element), _things(element, place))
            except (ValueError, KeyError) as error:  # an attribute is no number, or missing
                fault = f"{place} has an attribute that is missing or no number ({error}); export it again"
                scene = Scene(photo, file, fault=fault)
            scenes.setdefault(split, []).append(scene)
    return Annotations(tuple(listed) or named(scenes), scenes, bad, colors, tuple(files))


def _size(element: ElementTree.Element) -> Size:
    return int(element.attrib["height"]), int(element.attrib["width"])


def _things(image: ElementTree.Element, place: str) -> list[Thing]:
    things: list[tuple[int, Thing]] = []
    for i, element in enumerate(image):
        if element.tag in SHAPES:
            draw = DRAWN[element.tag](element.attrib) if element.tag in DRAWN else partial(_refuse, element.tag)
            order = int(element.get("z_order", 0))
            things.append((order, Thing(element.attrib["label"], draw, f"{place}, {element.tag} {i}")))
    return [thing for _, thing in sorted(things, key=lambda item: item[0])]


Attributes = Mapping[str, str]
Draw = Callable[[Size], Patch]


def _refuse(tag: str, size: Size) -> Patch:
    del size
    raise DataError(f"a {tag} has no area; draw a polygon or a mask, or delete it")


def _floats(attributes: Attributes, *names: str) -> list[float]:
    return [float(attributes[name]) for name in names]


def _polygon(attributes: Attributes) -> Draw:
    points = [[float(number) for number in point.split(",")] for point in attributes["points"].split(";")]
    return partial(raster.polygon, [np.array(points).reshape(-1, 2)])


def _box(attributes: Attributes) -> Draw:
    x0, y0, x1, y1 = _floats(attributes, "xtl", "ytl", "xbr", "ybr")
    corners, degrees = raster.rectangle(x0, y0, x1, y1), float(attributes.get("rotation", 0))
    if not degrees:
        return partial(raster.polygon, [corners])
    center = corners.mean(axis=0, keepdims=True)  # the corners are those before the turn
    return partial(raster.polygon, [raster.turned(corners - center, degrees) + center], points=center)


def _ellipse(attributes: Attributes) -> Draw:
    x, y, *radii = _floats(attributes, "cx", "cy", "rx", "ry")
    outline = raster.ellipse((x, y), (radii[0], radii[1]), float(attributes.get("rotation", 0)))
    return partial(raster.polygon, [outline], points=np.array([[x, y]]))


def _mask(attributes: Attributes) -> Draw:
    left, top, width, height = (int(attributes[name]) for name in ("left", "top", "width", "height"))
    counts = [int(number) for number in attributes["rle"].split(",")]

    def draw(size: Size) -> Patch:
        return raster.checked(Patch(top, left, rle.runs(counts, (height, width), columns=False)), size)

    return draw


DRAWN: Mapping[str, Callable[[Attributes], Draw]] = {
    "polygon": _polygon,
    "box": _box,
    "ellipse": _ellipse,
    "mask": _mask,
}
