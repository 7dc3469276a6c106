"""COCO's `instances_train2017.json` and what other tools export in its form: outlines and run lengths in one document.

Rasters differ from pycocotools' by pixels along slanted outlines, which it rounds to a fifth of a pixel.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from seg_jax.config import Size
from seg_jax.data.examples import Bad
from seg_jax.data.images import DataError
from seg_jax.data.label_tools import raster, rle
from seg_jax.data.label_tools.photographs import Photographs, split_of
from seg_jax.data.label_tools.raster import Patch
from seg_jax.data.label_tools.scene import IGNORED, Annotations, Scene, Thing
from seg_jax.runtime import documents

_ID = (int, str)
_SIZE = {"height?": int, "width?": int}
DOCUMENT = {
    "images": [{"id": _ID, "file_name": str, **_SIZE}],
    "categories": [{"id": _ID, "name": str}],
    "annotations": [{"image_id": _ID, "category_id": _ID}],
}
# Numbers are looked at when they are drawn: one by one, those of COCO's 450 MB would take minutes.
OUTLINE = {"segmentation": (list, {"counts": (str, list), "size": list}), "iscrowd?": (int, bool)}


def recognize(photographs: Photographs) -> list[Path]:
    """The documents with photographs and outlines; of COCO's own kinds the instances."""
    files = [path for path in photographs.files if path.suffix.lower() == ".json" and path.is_file()]
    files = [path for path in files if _is_document(path, files)]
    instances = [path for path in files if "instances" in path.stem.lower()]
    return instances or files


def _is_document(path: Path, others: list[Path]) -> bool:
    if sum(other.parent == path.parent for other in others) > 20:  # a file for each photograph is another layout
        return False
    content = path.read_bytes().strip()
    if not content.startswith(b"{") or b'"images"' not in content or b'"file_name"' not in content:
        return False
    return b'"segmentation"' in content or not content.endswith(b"}")  # one that was cut off is an error, not a puzzle


def read(photographs: Photographs, files: list[Path]) -> Annotations:
    """The annotations of all documents.

    Raises:
      DataError: a document is damaged, or two are about the same split.
    """
    root = photographs.root
    scenes: dict[str, list[Scene]] = {}
    bad: dict[str, list[Bad]] = {}
    names: dict[str, None] = {}
    splits: dict[str, Path] = {}
    for file in files:
        split = split_of(root, file)
        if other := splits.get(split):
            raise DataError(
                f"{other} and {file} are both annotations of {f'the split {split!r}' if split else 'one data set'}: "
                "which of them counts cannot be told. Move one of them elsewhere, or name their splits, such as "
                "train.json and val.json."
            )
        splits[split] = file
        content = documents.parse(
            file.read_bytes(), DOCUMENT, name=file, error=DataError, cure="export it again, or restore it"
        )
        categories = {entry["id"]: entry["name"] for entry in content["categories"]}
        names |= dict.fromkeys(categories.values())
        things: dict[Any, list[Thing]] = {entry["id"]: [] for entry in content["images"]}
        faults: dict[Any, str] = {}
        for i, entry in enumerate(content["annotations"]):
            image, where = entry["image_id"], f"annotations[{i}]"
            if image not in things:
                why = f"has image_id {image!r}, which no entry of 'images' has; add that entry, or remove this one."
                bad.setdefault(split, []).append(Bad(f"{file}, {where}", why))
            elif entry["category_id"] not in categories:
                known = ", ".join(map(str, categories))
                faults[image] = f"{where} has category_id {entry['category_id']!r}; 'categories' has {known}"
            elif reason := documents.misfit(entry, OUTLINE, where):
                faults[image] = f"{reason}; it needs polygons [[x, y, ...]] or run lengths {{counts, size}}"
            else:
                crowd = bool(entry.get("iscrowd"))
                draw = partial(_draw, entry["segmentation"])
                things[image].append(Thing(IGNORED if crowd else categories[entry["category_id"]], draw, where))
        for i, entry in enumerate(content["images"]):
            photo = photographs.find(entry["file_name"], file)
            if photo is None:
                why = f"names the photograph {entry['file_name']!r}, which is not below {root}; add it, or remove this."
                bad.setdefault(split, []).append(Bad(f"{file}, images[{i}]", why))
                continue
            size = (entry["height"], entry["width"]) if "height" in entry and "width" in entry else None
            # Crowds first: a single object within one counts.
            ordered = sorted(things[entry["id"]], key=lambda thing: thing.name != IGNORED)
            scenes.setdefault(split, []).append(Scene(photo, file, size, ordered, faults.get(entry["id"], "")))
    return Annotations(tuple(names), scenes, bad, files=tuple(files))


def _draw(outline: list | dict[str, Any], size: Size) -> Patch:
    if isinstance(outline, dict):
        if outline["size"] != list(size):
            raise DataError(
                f"its run lengths are those of {outline['size']} (height, width), the photograph has {list(size)}; "
                f"{rle.AGAIN}"
            )
        counts = outline["counts"]
        counts = rle.coco_counts(counts) if isinstance(counts, str) else counts
        return Patch(0, 0, rle.runs(counts, size, columns=True))
    if not outline:
        raise DataError("it has a box but no outline; draw one, or remove it")
    try:
        rings = [np.array(ring, float) for ring in outline]
    except (TypeError, ValueError) as error:
        raise DataError(f"a polygon is no list of numbers ({error}); correct it") from error
    if odd := [list(ring.shape) for ring in rings if ring.ndim != 1 or len(ring) % 2]:
        raise DataError(f"a polygon has numbers of the shape {odd[0]}, not pairs [x, y, x, y, ...]; correct it")
    return raster.parts([ring.reshape(-1, 2) for ring in rings], size)
