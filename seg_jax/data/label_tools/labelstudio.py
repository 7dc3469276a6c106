"""Label Studio's JSON export: brushes (run lengths), polygons, rectangles and ellipses, in percent of the picture."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from seg_jax.config import Size
from seg_jax.data.examples import Bad
from seg_jax.data.images import DataError
from seg_jax.data.label_tools import raster, rle
from seg_jax.data.label_tools.photographs import Photographs
from seg_jax.data.label_tools.raster import Patch
from seg_jax.data.label_tools.scene import Annotations, Scene, Thing, named
from seg_jax.runtime import documents
from seg_jax.runtime.documents import number

KEYS = (b'"annotations"', b'"result"')
KINDS = ("brushlabels", "polygonlabels", "rectanglelabels", "ellipselabels")
DOCUMENT = [{"id?": (int, str), "data": {str: lambda value: True}, "annotations": [{"result": [dict]}]}]
VALUE = {
    "points?": [[number]],
    "rle?": [int],
    **{f"{key}?": number for key in ("x", "y", "width", "height", "radiusX", "radiusY", "rotation")},
}
RESULT = {"type": str, "value": VALUE, "original_width": int, "original_height": int}


def recognize(photographs: Photographs) -> list[Path]:
    """The JSON files that hold tasks with annotations."""
    files = [path for path in photographs.files if path.suffix.lower() == ".json" and path.is_file()]
    found = []
    for path in files:
        content = path.read_bytes() if sum(other.parent == path.parent for other in files) <= 20 else b""
        if content.lstrip()[:1] == b"[" and all(key in content for key in KEYS):
            found.append(path)
    return found


def tasks(file: Path) -> list[dict[str, Any]]:
    """The tasks of an export.

    Raises:
      DataError: it is damaged, or of another form.
    """
    return documents.parse(file.read_bytes(), DOCUMENT, name=file, error=DataError, cure="export it again as JSON")


def photograph(photographs: Photographs, task: dict[str, Any], file: Path) -> Path | None:
    """The photograph of a task; None if it is not there."""
    texts = [text for text in task["data"].values() if isinstance(text, str)]
    return next((photo for text in texts if (photo := photographs.find_url(text, file))), None)


def read(photographs: Photographs, files: list[Path]) -> Annotations:
    """The annotations of all tasks; what nobody has annotated yet is passed over.

    Raises:
      DataError: a file is damaged.
    """
    scenes: list[Scene] = []
    bad: list[Bad] = []
    for file in files:
        for i, task in enumerate(tasks(file)):
            place = f"task {task.get('id', i)}"
            done = [one for one in task["annotations"] if not one.get("was_cancelled")]
            done = [one for one in done if one.get("ground_truth")] or done
            if not done:
                continue
            photo = photograph(photographs, task, file)
            if photo is None:
                shown = ", ".join(str(text) for text in task["data"].values())
                bad.append(Bad(f"{file}, {place}", f"its photograph {shown} is not there; add it, or remove the task."))
            elif len(done) > 1:
                fault = f"{place} has {len(done)} annotations; mark one of them as ground truth"
                scenes.append(Scene(photo, file, fault=fault))
            else:
                scenes.append(_scene(photo, file, done[0]["result"], place))
    return Annotations(named({"": scenes}), {"": scenes}, {"": bad}, files=tuple(files))


def _scene(photo: Path, file: Path, results: list[dict[str, Any]], place: str) -> Scene:
    things: list[Thing] = []
    size: Size | None = None
    for i, result in enumerate(results):
        where = f"{place}, result[{i}]"
        kind = result.get("type")
        if kind not in KINDS:
            if kind in ("labels", "brush", "polygon", "rectangle", "ellipse", "keypointlabels"):
                fault = f"{where} is of the type {kind!r}, a region without a class of its own; use {', '.join(KINDS)}"
                return Scene(photo, file, fault=fault)
            continue  # a choice, a rating or a text about the whole photograph
        if reason := documents.misfit(result, RESULT, where):
            return Scene(photo, file, fault=f"{reason}; export it again as JSON")
        names = result["value"].get(kind)
        if not isinstance(names, list) or len(names) != 1 or not isinstance(names[0], str):
            return Scene(photo, file, fault=f"{where} has the classes {names!r}; give each region one class")
        if result.get("image_rotation"):
            fault = f"{where} was drawn on a photograph that was turned by {result['image_rotation']}; turn it back"
            return Scene(photo, file, fault=fault)
        size = result["original_height"], result["original_width"]
        things.append(Thing(names[0], partial(_draw, kind, result["value"]), where))
    return Scene(photo, file, size, things)


def _draw(kind: str, value: dict[str, Any], size: Size) -> Patch:
    if kind == "brushlabels":
        return Patch(0, 0, rle.label_studio(value.get("rle", []), size))
    percent = np.array(size[::-1]) / 100
    if kind == "polygonlabels":
        points = value.get("points", [])
        if any(len(point) != 2 for point in points):
            raise DataError("a point is not [x, y]; export it again")
        return raster.polygon([np.array(points, float).reshape(-1, 2) * percent], size)
    keys = ("x", "y", *(("width", "height") if kind == "rectanglelabels" else ("radiusX", "radiusY")))
    if missing := [key for key in keys if key not in value]:
        raise DataError(f"a region has no {missing[0]!r}; export it again")
    corner, extent = (np.array([value[key] for key in pair]) * percent for pair in (keys[:2], keys[2:]))
    degrees = value.get("rotation", 0)
    if kind == "ellipselabels":
        outline = raster.ellipse((float(corner[0]), float(corner[1])), (float(extent[0]), float(extent[1])), degrees)
        return raster.polygon([outline], size, points=corner[None])
    # Label Studio turns a rectangle around its upper left corner.
    outline = raster.turned(raster.rectangle(0, 0, *extent), degrees) + corner
    return raster.polygon([outline], size, points=corner[None] if degrees else None)
