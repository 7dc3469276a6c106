"""Label tables in files of lines: `label_colors.txt`, lists of names, `class_dict.csv` and their relatives."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from typing import Any

from seg_jax.data.labels import IGNORE, Color, LabelError, LabelTable, forms

COLUMNS = tuple(
    pattern.replace("rgb", r"(?P<r>\d+) (?P<g>\d+) (?P<b>\d+)").replace(" ", between)
    for between in (r"\s+", r"\s*,\s*")
    for pattern in (r"(?P<id>\d+) rgb (?P<name>\S.*)", r"(?P<id>\d+) (?P<name>[^\d\s].*?) rgb")
)
VALUE_NAME = r"(?P<id>\d+)(?:\s*[:,]\s*|\s+)(?P<name>(?!.*\d[\s,]+\d+[\s,]+\d+$)[^\d\s][^\t]*)"


def from_text(text: str) -> LabelTable:
    """`label_colors.txt`: red, green, blue and name on each line, separated by tabs or spaces, or by commas.

    A number before them, before a name with its colour behind it, or before a name alone is the stored value. Without
    numbers it is a list of names. Lines that begin with # or // are comments. Files of CVAT and of ADE20K are known by
    their first lines.

    Raises:
      LabelError: a line has another form, or the table is invalid.
    """
    lines = {number: line.strip() for number, line in enumerate(text.splitlines(), start=1) if line.strip()}
    labelmap = any(re.match(r"#\s*label:", line) for line in lines.values())
    lines = {number: line for number, line in lines.items() if not line.startswith(("#", "//"))}
    if labelmap:
        return _from_labelmap(lines)
    if lines and re.match(r"idx\t.*\tname$", next(iter(lines.values())).lower()):
        return _from_objects(lines)
    for pattern in (*COLUMNS, VALUE_NAME):
        matches = [match for line in lines.values() if (match := re.fullmatch(pattern, line))]
        if lines and len(matches) == len(lines):
            if re.match(r"\d+[\s,]+\d", matches[0].string):
                _check_values(matches)
            return LabelTable(**forms.fields([match.groupdict() for match in matches]))
    if lines and not any(re.search(r"\d+[\s,]+\d+|\t", line) for line in lines.values()):
        return LabelTable(**forms.fields([*lines.values()]))
    rows: list[tuple[str, Color]] = []
    for number, line in lines.items():
        parts = re.fullmatch(r"(\d+)\s+(\d+)\s+(\d+)\s+(\S.*)", line)
        parts = parts or re.fullmatch(r"(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*,\s*(\S.*)", line)
        if not parts:
            raise LabelError(
                f"line {number}: {line!r} is not 'red green blue name', such as '128 64 128 Road'. Write all lines so, "
                "or all as 'value red green blue name', 'value name' or 'name'."
            )
        red, green, blue = (int(part) for part in parts.groups()[:3])
        rows.append((parts[4], (red, green, blue)))
    return LabelTable(names=tuple(name for name, _ in rows), colors=tuple(color for _, color in rows))


def _check_values(matches: list[re.Match[str]]) -> None:
    """Refuses lines of four numbers and a name whose first ones do not ascend: values may be elsewhere among them."""
    values = [int(match["id"]) for match in matches]
    wrong = next((i for i in range(1, len(values)) if values[i] <= values[i - 1]), None)
    if wrong is not None:
        raise LabelError(
            f"{matches[wrong].string!r} after {matches[wrong - 1].string!r}: the first of four numbers is the stored "
            "value where it ascends from line to line, and here it does not. Sort the lines by their values, or leave "
            "the fourth number out."
        )


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


def from_csv(text: str) -> LabelTable:
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
