"""Annotations as label tools write them: one reader for each layout, all behind one table.

A reader recognises its files in a directory, and reads them into `scene.Annotations`: photographs with their objects.
Pixels of objects are drawn when a photograph is read, so that a data set takes no memory for masks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from seg_jax.data.images import DataError
from seg_jax.data.label_tools import coco, cvat, labelme, labelstudio, layers, supervisely, tags, yolo
from seg_jax.data.label_tools.photographs import Photographs
from seg_jax.data.label_tools.scene import Annotations


@dataclass(frozen=True)
class Layout:
    """A layout of annotations.

    Attributes:
      title: its name, for people.
      recognize: photographs below a directory -> the files of this layout; [] if there are none.
      read: (photographs, these files) -> the annotations.
    """

    title: str
    recognize: Callable[[Photographs], list[Path]]
    read: Callable[[Photographs, list[Path]], Annotations]


# In the order in which they are tried. Label Studio's masks come first: the JSON beside them names their photographs.
# Those of other tools come last, because files have to be read to recognise them.
LAYOUTS: Mapping[str, Layout] = {
    "tags": Layout("Label Studio's binary masks, one for each tag", tags.recognize, tags.read),
    "supervisely": Layout("Supervisely", supervisely.recognize, supervisely.read),
    "labelme": Layout("labelme", labelme.recognize, labelme.read),
    "labelstudio": Layout("Label Studio's JSON", labelstudio.recognize, labelstudio.read),
    "coco": Layout("COCO's JSON", coco.recognize, coco.read),
    "cvat": Layout("CVAT's XML", cvat.recognize, cvat.read),
    "yolo": Layout("YOLO's polygons", yolo.recognize, yolo.read),
    "layers": Layout("binary masks of one class each", layers.recognize, layers.read),
}


def recognized(photographs: Photographs) -> tuple[str, list[Path]]:
    """(key of `LAYOUTS`, files) of the first layout that a directory has; ('', []) for none."""
    for name, layout in LAYOUTS.items():
        if files := layout.recognize(photographs):
            return name, files
    return "", []


def read(root: Path) -> tuple[str, Photographs, Annotations]:
    """(key of `LAYOUTS`, photographs, annotations) of a directory.

    Raises:
      DataError: it has no annotations of a known layout, or they are damaged.
    """
    photographs = Photographs(root)
    name, files = recognized(photographs)
    if not name:
        titles = ", ".join(layout.title for layout in LAYOUTS.values())
        raise DataError(
            f"{root} has no annotations of a known layout ({titles}). docs/formats.md says how each is recognised; for "
            "masks in files use data.source='folder'."
        )
    return name, photographs, LAYOUTS[name].read(photographs, files)
