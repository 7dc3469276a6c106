"""Label Studio's export of brushes as PNG: a binary mask for each tag, `task-T-annotation-A-by-B-tag-NAME-N.png`.

The files name the task and not the photograph: the JSON export tells which is which, or the numbers in the names of
the photographs.
"""

from __future__ import annotations

import contextlib
import re
from functools import partial
from pathlib import Path

from seg_jax.config import Size
from seg_jax.data.decoder import opened
from seg_jax.data.examples import Bad
from seg_jax.data.images import DataError
from seg_jax.data.label_tools import labelstudio, raster
from seg_jax.data.label_tools.photographs import Photographs
from seg_jax.data.label_tools.raster import Patch
from seg_jax.data.label_tools.scene import Annotations, Scene, Thing, named

NAME = re.compile(r"task-(\d+)-annotation-(\d+)-by-.+?-tag-(.+)-(\d+)")


def recognize(photographs: Photographs) -> list[Path]:
    """The masks with such names."""
    return [path for path in photographs.images if NAME.fullmatch(path.stem)]


def read(photographs: Photographs, files: list[Path]) -> Annotations:
    """The masks of each task as the objects of one photograph, in the order of their numbers and names.

    Raises:
      DataError: a task has no photograph for certain, or masks of several annotations.
    """
    by_task: dict[int, list[tuple[int, str, int, Path]]] = {}
    for path in files:
        task, annotation, name, number = re.findall(NAME, path.stem)[0]
        by_task.setdefault(int(task), []).append((int(number), name, int(annotation), path))
    photos = _by_json(photographs) or _by_number(photographs, set(by_task), files)
    scenes: list[Scene] = []
    bad: list[Bad] = []
    for task, masks in sorted(by_task.items()):
        first = min(path for *_, path in masks)
        if task not in photos:
            bad.append(Bad(str(first), "no task of the JSON export is that of the mask; export both at once."))
            continue
        several = len({annotation for _, _, annotation, _ in masks}) > 1
        fault = f"task {task} has masks of several annotations; remove those of all but one" * several
        things = [Thing(name, partial(draw, path), path.name) for _, name, _, path in sorted(masks)]
        scenes.append(Scene(photos[task], first, mask_size(first), things, fault))
    return Annotations(named({"": scenes}), {"": scenes}, {"": bad}, files=tuple(files))


def _by_json(photographs: Photographs) -> dict[int, Path]:
    """Task -> photograph, of the JSON exports beside the masks."""
    found: dict[int, Path] = {}
    for file in labelstudio.recognize(photographs):
        for task in labelstudio.tasks(file):
            if isinstance(task.get("id"), int) and (photo := labelstudio.photograph(photographs, task, file)):
                found[task["id"]] = photo
    return found


def _by_number(photographs: Photographs, tasks: set[int], masks: list[Path]) -> dict[int, Path]:
    """Task -> photograph with that number as the last one in its name, if that is so for every task."""
    found: dict[int, list[Path]] = {}
    for photo in sorted({*photographs.images} - {*masks}):
        if numbers := re.findall(r"\d+", photo.stem):
            found.setdefault(int(numbers[-1]), []).append(photo)
    if unclear := sorted(task for task in tasks if len(found.get(task, [])) != 1):
        raise DataError(
            f"{min(masks)} and others are binary masks of Label Studio, one for each tag, which name tasks and not "
            f"photographs: there is no photograph with the number {unclear[0]}, or there are several. Put the JSON "
            "export of the same project beside them, which says which photograph each task has."
        )
    return {task: found[task][0] for task in tasks}


def mask_size(mask: Path) -> Size | None:
    """(height, width) of a mask; None for a damaged one, which the reader of its pixels reports."""
    with contextlib.suppress(DataError), opened(mask) as image:
        return image.height, image.width
    return None


def draw(path: Path, size: Size) -> Patch:
    """The pixels of a binary mask for a photograph of `size`.

    Raises:
      DataError: the file is no image, or of another size.
    """
    patch = raster.png(path.read_bytes(), 0, 0, size)
    if patch.pixels.shape != size:
        raise DataError(f"the mask has another size than its photograph of {size[0]}x{size[1]}; export it again")
    return patch
