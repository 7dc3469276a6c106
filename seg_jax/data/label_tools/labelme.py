"""labelme: a JSON beside each photograph, with polygons, rectangles, circles and masks."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from seg_jax.config import Size
from seg_jax.data.examples import Bad
from seg_jax.data.images import DataError
from seg_jax.data.label_tools import raster
from seg_jax.data.label_tools.photographs import Photographs, split_of
from seg_jax.data.label_tools.raster import Patch
from seg_jax.data.label_tools.scene import Annotations, Scene, Thing, named
from seg_jax.runtime import documents
from seg_jax.runtime.documents import number

SAMPLED = 3  # files of a directory that are looked at
DOCUMENT = {
    "imagePath": str,
    "imageHeight?": (int, None),
    "imageWidth?": (int, None),
    "shapes": [{"label": str, "points": [[number]], "shape_type?": (str, None), "mask?": (str, None)}],
}


def recognize(photographs: Photographs) -> list[Path]:
    """The JSON files of directories in which some are labelme's, and others have a photograph beside them."""
    folders: dict[Path, list[Path]] = {}
    for path in photographs.files:
        if path.suffix.lower() == ".json" and path.is_file():
            folders.setdefault(path.parent, []).append(path)
    photos = {path.with_suffix("") for path in photographs.images}
    found: list[Path] = []
    for paths in folders.values():
        if any(_is_document(path) for path in paths[:SAMPLED]):
            found += [path for path in paths if path.with_suffix("") in photos or _is_document(path)]
    return found


def _is_document(path: Path) -> bool:
    content = path.read_bytes()
    return b'"shapes"' in content and (b'"imagePath"' in content or b'"shape_type"' in content)


def read(photographs: Photographs, files: list[Path]) -> Annotations:
    """The annotations of all files; a damaged one makes its photograph unusable."""
    scenes: dict[str, list[Scene]] = {}
    bad: dict[str, list[Bad]] = {}
    beside = {path.with_suffix(""): path for path in photographs.images}
    for file in files:
        split = split_of(photographs.root, file)
        try:
            content = documents.parse(
                file.read_bytes(), DOCUMENT, name="it", error=DataError, cure="save it again in labelme"
            )
            photo = photographs.find(content["imagePath"], file) or beside.get(file.with_suffix(""))
            things, size = _things(content), _size(content)
        except DataError as error:
            if photo := beside.get(file.with_suffix("")):
                scenes.setdefault(split, []).append(Scene(photo, file, fault=str(error)))
            else:
                bad.setdefault(split, []).append(Bad(str(file), str(error)))
            continue
        if photo:
            scenes.setdefault(split, []).append(Scene(photo, file, size, things))
        else:
            why = f"names the photograph {content['imagePath']!r}, which is not there; add it, or remove the file."
            bad.setdefault(split, []).append(Bad(str(file), why))
    return Annotations(named(scenes), scenes, bad, files=tuple(files))


def _size(content: dict[str, Any]) -> Size | None:
    height, width = content.get("imageHeight"), content.get("imageWidth")
    return (height, width) if height and width else None


def _things(content: dict[str, Any]) -> list[Thing]:
    things = []
    for i, shape in enumerate(content["shapes"]):
        kind = shape.get("shape_type") or "polygon"
        if wrong := [point for point in shape["points"] if len(point) != 2]:
            raise DataError(f"shapes[{i}] has the point {wrong[0]}, which is not [x, y]; save it again in labelme")
        points = np.array(shape["points"], float).reshape(-1, 2)
        draw = partial(_draw, kind, points, shape.get("mask"))
        things.append(Thing(shape["label"], draw, f"shapes[{i}]"))
    return things


def _draw(kind: str, points: np.ndarray, mask: str | None, size: Size) -> Patch:
    if kind in ("rectangle", "circle", "mask") and len(points) != 2:
        raise DataError(f"a {kind} has {len(points)} points instead of 2; draw it again")
    if kind == "mask" and mask:
        left, top = map(math.floor, points[0].tolist())
        return raster.bitmap(mask, left, top, size)
    if kind == "rectangle":
        return raster.polygon([raster.rectangle(*points.min(axis=0), *points.max(axis=0))], size)
    if kind == "circle":  # its center, and a point on it
        radius = float(np.hypot(*(points[1] - points[0])))
        return raster.polygon([raster.ellipse(tuple(points[0]), (radius, radius))], size, points=points)
    if kind != "polygon":
        raise DataError(f"a {kind!r} has no area; draw a polygon, or delete it")
    return raster.polygon([points], size)
