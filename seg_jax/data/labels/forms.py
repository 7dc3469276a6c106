"""The forms in which other tools write classes: lists and mappings of names, ids and colours, read by their shape."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from seg_jax.data.labels.ids import IGNORE, Color, LabelError, palette

NAME = ("readable", "name", "label", "title", "class")  # Mapillary Vistas has names for people beside others
COLOR = ("color", "colour", "rgb", "hex")
VALUE = ("values", "value", "id", "index", "label", "class_id")
INSIDE = ("classes", "CLASSES", "labels", "names", "categories", "id2label", "label2id")  # where documents have classes
PALETTE = ("palette", "PALETTE", "colors", "COLORS")  # the colours beside a list of them
NOT_COUNTED = ("ignore", "ignored", "void", "unlabeled", "unlabelled", "don't care", "dontcare")  # names of 255

Form = tuple[str, ...]  # of an entry of a mapping, such as ('id', 'name')


class Row(NamedTuple):
    """One class as it is written; None: not said."""

    name: str
    color: Color | None = None
    values: tuple[int, ...] | None = None
    color_values: tuple[Color, ...] | None = None


def fields(content: Any) -> dict[str, Any]:
    """The fields of a label table, for its constructor.

    Args:
      content: a list of names; a list of objects with a name, a colour and an id; a mapping of two of name, id and
        colour; or an object that keeps one of these under a key of `INSIDE`, with the colours of a list of names under
        one of `PALETTE`. Whole numbers may be written as text.

    Raises:
      LabelError: it has another form; the message says which part.
    """
    outer: Mapping[str, Any] = {}
    if isinstance(content, dict):
        content = {str(key): value for key, value in content.items()}
        inside = [key for key in INSIDE if key in content and not _is_color(content[key])]
        if inside:
            outer, content = content, content[inside[0]]
    if not isinstance(content, list | dict):
        refuse(f"{_shown(content)} is neither a list nor an object")
    rows = _of_list(content) if isinstance(content, list) else _of_mapping(content)
    if isinstance(content, list) and not any(row.color for row in rows):
        rows = _painted(rows, outer)
    ignore = outer.get("ignore", outer.get("ignore_index"))
    if isinstance(content, list) and any(_without_score(entry) for entry in content):
        rows, ignore = _scored(rows, content)
    if ignore is None:
        rows, ignore = _uncounted(rows)
    result: dict[str, Any] = {"names": tuple(row.name for row in rows), "ignore": _wholes(ignore, "'ignore'")}
    if any(row.color for row in rows):
        defaults = palette(len(rows))
        result["colors"] = tuple(row.color or defaults[i] for i, row in enumerate(rows))
    if any(row.values is not None for row in rows):
        result["values"] = tuple((i,) if row.values is None else row.values for i, row in enumerate(rows))
    if any(row.color_values is not None for row in rows):
        result["color_values"] = tuple(
            (color,) if row.color_values is None else row.color_values
            for row, color in zip(rows, result.get("colors", palette(len(rows))), strict=True)
        )
    if "ignore_colors" in outer:
        result["ignore_colors"] = _colors(outer["ignore_colors"], "'ignore_colors'")
    return result


def refuse(what: str) -> NoReturn:
    """Raises the error for a part that is of no known form."""
    raise LabelError(
        f"class_names.json has an unknown form: {what}. Write a list of names, "
        '{"name": [r, g, b], ...}, or {"classes": [{"name": ..., "color": ..., "values": [...]}], '
        '"ignore": [255]}; docs/data.md shows the other forms.'
    )


def _painted(rows: list[Row], outer: Mapping[str, Any]) -> list[Row]:
    """The classes with the colours beside their list, if there are some."""
    key = next((key for key in PALETTE if outer.get(key) is not None), "")
    if not key:
        return rows
    colors = _colors(outer[key], repr(key))
    if len(colors) != len(rows):
        raise LabelError(f"{len(colors)} colours in {key!r} for {len(rows)} classes; give one for each.")
    return [row._replace(color=color) for row, color in zip(rows, colors, strict=True)]


def _uncounted(rows: list[Row]) -> tuple[list[Row], tuple[int, ...]]:
    """(classes, ignored values) where a document does not say what is ignored: 255, unless that is a class; of more
    than 255 classes then 65535."""
    void = [row for row in rows if row.values == (IGNORE,) and row.name.lower() in NOT_COUNTED]
    rows = [row for row in rows if row not in void]
    if all(IGNORE not in (row.values or ()) for row in rows):
        return rows, (IGNORE,)
    return rows, (65535,) if len(rows) > IGNORE else ()


def _without_score(entry: Any) -> bool:
    """Whether a class does not count in evaluation, as Mapillary Vistas marks what nobody could name."""
    return isinstance(entry, dict) and entry.get("evaluate") is False


def _scored(rows: list[Row], content: Sequence[Any]) -> tuple[list[Row], list[int]]:
    """(classes that count, ignored values); where no ids are written, they are the places in the list."""
    valued = [row if row.values is not None else row._replace(values=(i,)) for i, row in enumerate(rows)]
    ignored = [row for row, entry in zip(valued, content, strict=True) if _without_score(entry)]
    values = [value for row in ignored for value in row.values or ()]
    kept = [row for row in valued if row not in ignored]
    taken = {value for row in valued for value in row.values or ()}
    return kept, values + [IGNORE] * (IGNORE not in taken)


def _of_list(content: Sequence[Any]) -> list[Row]:
    rows = []
    for i, entry in enumerate(content):
        if isinstance(entry, str) and entry:
            rows.append(Row(entry))
        elif isinstance(entry, dict):
            rows.append(_of_object(entry, f"entry {i}"))
        else:
            refuse(f"entry {i}, {_shown(entry)}, is neither a name nor an object with a 'name'")
    return rows


def _of_object(entry: Mapping[str, Any], where: str, **known: Any) -> Row:
    """A class from an object such as `{"name": "road", "color": "#804080", "id": 7}`.

    Args:
      entry: the object.
      where: its place, for messages.
      known: fields of the row that the object's key in a mapping gives.
    """
    entry = {str(key).lower(): value for key, value in entry.items()}
    row: dict[str, Any] = dict(known)
    name = next((entry[key] for key in NAME if isinstance(entry.get(key), str) and entry[key]), None)
    if name is None and "name" not in row:
        refuse(f"{where}, {_shown(entry)}, has no 'name' (or label, title)")
    row.setdefault("name", name)
    color = next((entry[key] for key in COLOR if entry.get(key) is not None), None)
    if isinstance(color, str) and re.fullmatch("[0-9a-fA-F]{6}", color):  # under such a key it is no name
        color = f"#{color}"
    if color is None and all(key in entry for key in "rgb"):
        color = [entry[key] for key in "rgb"]
    if color is not None:
        row["color"] = _color(color, where)
    value = next((entry[key] for key in VALUE if entry.get(key) is not None and entry[key] != name), None)
    if value is not None:
        row["values"] = _wholes(value, where, alone="values" not in entry)
    if "color_values" in entry:
        row["color_values"] = _colors(entry["color_values"], where)
    return Row(**row)


def _of_mapping(content: Mapping[str, Any]) -> list[Row]:
    """Classes from a mapping; where its keys are ids, in their order."""
    forms: dict[Form, str] = {}
    rows = []
    for key, value in content.items():
        form = _form(key, value)
        forms.setdefault(form, key)
        if len(forms) > 1:
            (one, first), (two, second) = forms.items()
            refuse(f"{first!r} is {' -> '.join(one)}, but {second!r} is {' -> '.join(two)}")
        known: dict[str, Any] = {}
        for kind, text in zip(form, (key, value), strict=True):
            if kind == "name":
                known["name"] = text
            elif kind == "id":
                known["values"] = (_whole(text),)
            elif kind == "colour":
                known["color"] = _color(text, key)
        if form[1] == "object":
            rows.append(_of_object(value, repr(key), **known))
        else:
            rows.append(Row(**{"name": "class_" + re.sub(r"\W+", "_", key).strip("_"), **known}))
    return sorted(rows, key=lambda row: row.values or ()) if next(iter(forms), ("",))[0] == "id" else rows


def _form(key: str, value: Any) -> Form:
    left = "id" if _whole(key) is not None else "colour" if _is_color(key) else "name"
    if isinstance(value, dict):
        return left, "object"
    if _whole(value) is not None and left != "id":
        return left, "id"
    if _is_color(value) and left != "colour":
        return left, "colour"
    if isinstance(value, str) and value and left != "name":
        return left, "name"
    refuse(f"{key!r}: {_shown(value)} is not the name, the id or the colour of a class")


def _whole(value: Any) -> int | None:
    """A whole number, also of text; None for anything else."""
    if isinstance(value, str) and re.fullmatch(r"\s*\d{1,9}\s*", value):
        return int(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e9:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _wholes(value: Any, where: str, *, alone: bool = True) -> tuple[int, ...]:
    """Whole numbers of a list, or, where it may stand alone, of one number."""
    numbers = [_whole(v) for v in value] if isinstance(value, list | tuple) else [_whole(value)] if alone else [None]
    if any(number is None for number in numbers):
        refuse(f"{where}: {_shown(value)} is no {'whole number' if alone else 'list of whole numbers'}")
    return tuple(number for number in numbers if number is not None)


def _is_color(value: Any) -> bool:
    return _try_color(value) is not None


def _try_color(value: Any) -> Color | None:
    """A colour from three numbers (and alpha, which is dropped), hex or 'r,g,b'; None for anything else."""
    if isinstance(value, str):
        text = value.strip()
        if match := re.fullmatch(r"(?:#|0x)([0-9a-fA-F]{6})(?:[0-9a-fA-F]{2})?", text):
            return int(match[1][:2], 16), int(match[1][2:4], 16), int(match[1][4:], 16)
        if match := re.fullmatch(r"#([0-9a-fA-F])([0-9a-fA-F])([0-9a-fA-F])", text):
            return int(match[1] * 2, 16), int(match[2] * 2, 16), int(match[3] * 2, 16)
        numbers = re.fullmatch(r"(?:rgba?)?[(\[]?\s*(\d{1,3}(?:(?:\s*,\s*|\s+)\d{1,3}){2,3})\s*[)\]]?", text)
        value = re.split(r"[\s,]+", numbers[1]) if numbers else None
    elif isinstance(value, dict) and all(key in value for key in "rgb"):
        value = [value[key] for key in "rgb"]
    if not isinstance(value, list | tuple) or len(value) not in (3, 4):
        return None
    red, green, blue = (_whole(part) for part in value[:3])
    return None if red is None or green is None or blue is None else (red, green, blue)


def _color(value: Any, where: str) -> Color:
    color = _try_color(value)
    if color is None:
        refuse(f"{where}: {_shown(value)} is no colour, which is [r, g, b] in 0..255, or '#rrggbb'")
    return color


def _colors(value: Any, where: str) -> tuple[Color, ...]:
    if not isinstance(value, list):
        refuse(f"{where}: {_shown(value)} is no list of colours")
    return tuple(_color(color, where) for color in value)


def _shown(value: Any) -> str:
    """A value as JSON would have it, short."""
    words = {True: "true", False: "false", None: "null"}
    if isinstance(value, bool) or value is None:
        return words[value]
    text = f'"{value}"' if isinstance(value, str) else str(value).replace("'", '"')
    return text if len(text) <= 60 else f"{text[:57]}..."
