"""Supervisely: `meta.json` with the classes, and for `DATASET/img/NAME` the objects in `DATASET/ann/NAME.json`."""

from __future__ import annotations

import base64
import binascii
import zlib
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
from seg_jax.data.label_tools.scene import Annotations, Scene, Thing, hex_color
from seg_jax.runtime import documents
from seg_jax.runtime.documents import number

LARGEST = 1 << 28  # bytes of a bitmap's PNG; a few kilobytes may be packed gigabytes

META = {"classes": [{"title": str, "shape": str, "color?": str}]}
_POINTS = {"exterior": [[number]], "interior?": [[[number]]]}
DOCUMENT = {
    "size": {"height": int, "width": int},
    "objects": [
        {
            "classTitle": str,
            "geometryType?": str,
            "bitmap?": ({"data": str, "origin": [int]}, None),
            "points?": (_POINTS, None),
        }
    ],
}


def recognize(photographs: Photographs) -> list[Path]:
    """`meta.json` with the files of the `ann` directories below its own."""
    for path in photographs.files:
        if path.name == "meta.json" and b'"classes"' in path.read_bytes():
            below = [other for other in photographs.files if other.suffix == ".json" and other.parent.name == "ann"]
            if below := [other for other in below if path.parent in other.parents]:
                return [path, *below]
    return []


def read(photographs: Photographs, files: list[Path]) -> Annotations:
    """The annotations of a project; a damaged file makes its photograph unusable.

    Raises:
      DataError: `meta.json` is damaged.
    """
    cure = "export the project again"
    meta = documents.parse(files[0].read_bytes(), META, name=files[0], error=DataError, cure=cure)
    scenes: dict[str, list[Scene]] = {}
    bad: dict[str, list[Bad]] = {}
    for file in files[1:]:
        split = split_of(photographs.root, file)
        photo = file.parent.with_name("img") / file.stem
        if not photo.is_file():  # older exports name the file without the photograph's extension
            photo = next((path for path in photographs.images if path.with_suffix("") == photo), photo)
        if not photo.is_file():
            why = f"belongs to the photograph {photo}, which is not there; add it, or remove the file."
            bad.setdefault(split, []).append(Bad(str(file), why))
            continue
        try:
            content = documents.parse(file.read_bytes(), DOCUMENT, name="it", error=DataError, cure=cure)
        except DataError as error:
            scenes.setdefault(split, []).append(Scene(photo, file, fault=str(error)))
            continue
        things = [
            Thing(entry["classTitle"], partial(_draw, entry), f"objects[{i}]")
            for i, entry in enumerate(content["objects"])
        ]
        size = content["size"]["height"], content["size"]["width"]
        scenes.setdefault(split, []).append(Scene(photo, file, size, things))
    colors = {entry["title"]: color for entry in meta["classes"] if (color := hex_color(entry.get("color", "")))}
    return Annotations(tuple(entry["title"] for entry in meta["classes"]), scenes, bad, colors, tuple(files))


def _draw(entry: dict[str, Any], size: Size) -> Patch:
    if bitmap := entry.get("bitmap"):
        try:
            content = zlib.decompressobj().decompress(base64.b64decode(bitmap["data"], validate=True), LARGEST)
        except (binascii.Error, ValueError, zlib.error) as error:
            raise DataError(f"its bitmap is damaged ({error}); export the project again") from error
        if len(bitmap["origin"]) != 2:
            raise DataError(f"its bitmap has the origin {bitmap['origin']}, not [x, y]; export the project again")
        left, top = bitmap["origin"]
        return raster.png(content, left, top, size)
    kind, points = entry.get("geometryType", "polygon"), entry.get("points")
    if not points or kind not in ("polygon", "rectangle"):
        raise DataError(f"a {kind!r} has no area; draw a polygon or a bitmap, or delete it")
    rings = [points["exterior"], *points.get("interior", [])]
    if any(len(point) != 2 for ring in rings for point in ring):
        raise DataError("a point is not [x, y]; export the project again")
    arrays = [np.array(ring, float).reshape(-1, 2) for ring in rings]
    if kind == "rectangle" and len(arrays[0]) == 2:
        arrays = [raster.rectangle(*arrays[0].min(axis=0), *arrays[0].max(axis=0))]
    return raster.polygon(arrays, size)
