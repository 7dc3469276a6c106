"""Cityscapes (Cordts et al. 2016): its published labels, and the label tables made from them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from seg_jax.data.images import write_image
from seg_jax.data.labels import IGNORE, Color, LabelError, LabelTable


class Label(NamedTuple):
    """A label of Cityscapes.

    Attributes:
      name: its published name.
      id: its value in `labelIds` files; -1: annotated as what is behind it.
      train_id: its value in `labelTrainIds` files, the class of the benchmark; 255 or -1: not evaluated.
      category: the name of its group.
      color: its colour in `color` files.
    """

    name: str
    id: int
    train_id: int
    category: str
    color: Color


# Cordts et al. 2016; cityscapesScripts, helpers/labels.py.
LABELS = (
    Label("unlabeled", 0, 255, "void", (0, 0, 0)),
    Label("ego vehicle", 1, 255, "void", (0, 0, 0)),
    Label("rectification border", 2, 255, "void", (0, 0, 0)),
    Label("out of roi", 3, 255, "void", (0, 0, 0)),
    Label("static", 4, 255, "void", (0, 0, 0)),
    Label("dynamic", 5, 255, "void", (111, 74, 0)),
    Label("ground", 6, 255, "void", (81, 0, 81)),
    Label("road", 7, 0, "flat", (128, 64, 128)),
    Label("sidewalk", 8, 1, "flat", (244, 35, 232)),
    Label("parking", 9, 255, "flat", (250, 170, 160)),
    Label("rail track", 10, 255, "flat", (230, 150, 140)),
    Label("building", 11, 2, "construction", (70, 70, 70)),
    Label("wall", 12, 3, "construction", (102, 102, 156)),
    Label("fence", 13, 4, "construction", (190, 153, 153)),
    Label("guard rail", 14, 255, "construction", (180, 165, 180)),
    Label("bridge", 15, 255, "construction", (150, 100, 100)),
    Label("tunnel", 16, 255, "construction", (150, 120, 90)),
    Label("pole", 17, 5, "object", (153, 153, 153)),
    Label("polegroup", 18, 255, "object", (153, 153, 153)),
    Label("traffic light", 19, 6, "object", (250, 170, 30)),
    Label("traffic sign", 20, 7, "object", (220, 220, 0)),
    Label("vegetation", 21, 8, "nature", (107, 142, 35)),
    Label("terrain", 22, 9, "nature", (152, 251, 152)),
    Label("sky", 23, 10, "sky", (70, 130, 180)),
    Label("person", 24, 11, "human", (220, 20, 60)),
    Label("rider", 25, 12, "human", (255, 0, 0)),
    Label("car", 26, 13, "vehicle", (0, 0, 142)),
    Label("truck", 27, 14, "vehicle", (0, 0, 70)),
    Label("bus", 28, 15, "vehicle", (0, 60, 100)),
    Label("caravan", 29, 255, "vehicle", (0, 0, 90)),
    Label("trailer", 30, 255, "vehicle", (0, 0, 110)),
    Label("train", 31, 16, "vehicle", (0, 80, 100)),
    Label("motorcycle", 32, 17, "vehicle", (0, 0, 230)),
    Label("bicycle", 33, 18, "vehicle", (119, 11, 32)),
    Label("license plate", -1, -1, "vehicle", (0, 0, 142)),
)


def _table(class_of: Mapping[str, str]) -> LabelTable:
    """The label table for `labelIds` and `color` files.

    A colour that several labels share (black; pole and polegroup) means the label defined first, as in the published
    inverse mapping.

    Args:
      class_of: label -> class, in the order of the classes; other labels are ignored.
    """
    first: dict[Color, str] = {}
    for label in LABELS:
        first.setdefault(label.color, label.name)
    groups: dict[str, list[Label]] = {name: [] for name in class_of.values()}
    ignored: list[Label] = []
    for label in LABELS:
        groups.get(class_of.get(label.name, ""), ignored).append(label)

    def colors(labels: list[Label]) -> tuple[Color, ...]:
        return tuple(label.color for label in labels if first[label.color] == label.name)

    return LabelTable(
        names=tuple(groups),
        colors=tuple(labels[0].color for labels in groups.values()),
        values=tuple(tuple(label.id for label in labels if label.id >= 0) for labels in groups.values()),
        ignore=(*(label.id for label in ignored if label.id >= 0), IGNORE),
        color_values=tuple(colors(labels) for labels in groups.values()),
        ignore_colors=colors(ignored),
    )


# Choice of classes -> table. 'trainids': the 19 of the benchmark; 'ids': every label; 'thirty': the annotated ones,
# without unlabeled, ego vehicle, rectification border and out of roi.
TABLES: Mapping[str, LabelTable] = {
    "trainids": _table({x.name: x.name for x in LABELS if 0 <= x.train_id < 255}),
    "ids": _table({x.name: x.name for x in LABELS if x.id >= 0}),
    "thirty": _table({x.name: x.name for x in LABELS if x.id >= 4}),
    "categories": _table({x.name: x.category for x in LABELS}),
}


def write_prediction(directory: Path, frame: str, label: np.ndarray, table: LabelTable) -> Path:
    """Writes a prediction in the form that the evaluation server accepts: `FRAME_pred_labelIds.png`.

    Args:
      directory: the directory to write to; it is created if need be.
      frame: the name of an example, such as 'aachen_000000_000019', by which the server finds the truth.
      label: class ids, uint8 [h w] at the size of the photograph; 255 is written as 0, 'unlabeled'.
      table: one of `TABLES`, or one merged from it; a class of several labels is written as the first of them.

    Returns:
      The file.

    Raises:
      LabelError: the table is not one of Cityscapes.
    """
    ids = {x.id for x in LABELS}
    unknown = [name for name, stored in zip(table.names, table.values, strict=True) if stored[0] not in ids]
    if unknown:
        raise LabelError(
            f"the stored values of {', '.join(unknown)} are no ids of Cityscapes, which the evaluation server needs. "
            "Write predictions of a model that was trained on data.source='cityscapes'."
        )
    stored = table.decode(np.where(label == IGNORE, 0, label))
    path = directory / f"{frame}_pred_labelIds.png"
    write_image(path, np.where(label == IGNORE, 0, stored).astype(np.uint8))
    return path
