"""LabelTable: names, colours and stored values of the classes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from seg_jax.data.labels import text
from seg_jax.data.labels.colors import unlike
from seg_jax.data.labels.ids import IGNORE, IGNORE_GROUP, MOST_CLASSES, UNKNOWN, Color, LabelError, label_type, palette
from seg_jax.runtime.quoting import ranges


@dataclass(frozen=True)
class LabelTable:
    """Names, colours and stored values of the classes 0..k-1.

    Attributes:
      names: class names in the order of their ids; unique, at least two, at most 65535.
      colors: one (red, green, blue) per class, 0..255.
      values: for each class its stored mask values, 0..65535; default: its own id.
      ignore: the stored values that are ignored; default: 255, of more than 255 classes 65535.
      color_values: for each class its colours in masks of colours; default: its own colour.
      ignore_colors: the colours that are ignored in masks of colours.

    Raises:
      LabelError: lengths differ, names repeat, or one stored value has two meanings.
    """

    names: tuple[str, ...]
    colors: tuple[Color, ...] = ()
    values: tuple[tuple[int, ...], ...] = ()
    ignore: tuple[int, ...] = (IGNORE,)
    color_values: tuple[tuple[Color, ...], ...] = ()
    ignore_colors: tuple[Color, ...] = ()

    def __post_init__(self) -> None:
        _check_names(self.names)
        if not self.colors:
            object.__setattr__(self, "colors", palette(len(self)))
        if not self.values:
            if self.ignore == (IGNORE,) and len(self) > IGNORE:  # 255 is a class
                object.__setattr__(self, "ignore", (self.ignored,))
            object.__setattr__(self, "values", tuple((i,) for i in range(len(self))))
        if not self.color_values:
            object.__setattr__(self, "color_values", tuple((color,) for color in self.colors))
        _check_meanings(self)

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def dtype(self) -> np.dtype:
        """The type of arrays of class ids: uint8, or uint16 for more than 255 classes."""
        return label_type(len(self))

    @cached_property
    def ignored(self) -> int:
        """The value of ignored pixels in arrays of class ids: 255, or 65535 for more than 255 classes."""
        return int(np.iinfo(self.dtype).max)

    def name(self, i: int) -> str:
        """The name of the class with the id `i`, 'ignore' for `ignored`."""
        return IGNORE_GROUP if i == self.ignored else self.names[i]

    def color_meanings(self) -> list[tuple[int, Color]]:
        """(class id or `ignored`, colour) for every colour with a meaning in masks, in the order of the classes."""
        groups = [*enumerate(self.color_values), (self.ignored, self.ignore_colors)]
        return [(i, color) for i, colors in groups for color in colors]

    @cached_property
    def _lut(self) -> np.ndarray:
        """int32 [65536]: stored value -> class id, `ignored`, or -1 for an unknown value."""
        lut = np.full(65536, -1, np.int32)
        for i, stored in enumerate(self.values):
            lut[list(stored)] = i
        lut[list(self.ignore)] = self.ignored
        return lut

    @cached_property
    def _bytes(self) -> bytes:
        """The same for values of one byte, in the form of `bytes.translate`; `UNKNOWN` for an unknown value."""
        return np.where(self._lut[:256] < 0, UNKNOWN, self._lut[:256]).astype(np.uint8).tobytes()

    def encode(self, mask: np.ndarray) -> np.ndarray:
        """Stored values, integer [h w] -> class ids, `dtype` [h w], `ignored` where ignored; the mask if it is that.

        Raises:
          LabelError: the mask has values outside the table; names each with its pixel count.
        """
        k = len(self)
        if mask.dtype == self.dtype and mask.max(initial=0) < k and (self._lut[:k] == np.arange(k)).all():
            return np.ascontiguousarray(mask)  # nothing is copied: they are ids already
        if mask.dtype == np.uint8 and len(self) <= UNKNOWN:  # takes a third of the time
            ids = bytearray(mask).translate(self._bytes)
            if UNKNOWN not in ids:
                return np.frombuffer(ids, np.uint8).reshape(mask.shape)
        label = self._lut[mask]
        if (label < 0).any():
            raise _unknown_values(self, mask[label < 0])
        return label.astype(self.dtype)

    def without_data(self, label: np.ndarray, missing: np.ndarray | None) -> np.ndarray:
        """Class ids [h w], ignored where `missing`, bool [h w], says that nothing was measured; None: nowhere."""
        return label if missing is None else np.where(missing, self.dtype.type(self.ignored), label)

    def decode(self, label: np.ndarray) -> np.ndarray:
        """Class ids [h w] -> the first stored value of each class, uint8 or uint16.

        `ignored` becomes an ignored stored value: itself if it is one or if there is none.
        """
        ignored = self.ignored if self.ignored in self.ignore or not self.ignore else self.ignore[0]
        first = np.full(self.ignored + 1, ignored, np.uint16)
        first[: len(self)] = [stored[0] for stored in self.values]
        return first[label].astype(np.uint8 if first.max() <= 255 else np.uint16)

    def colorize(self, label: np.ndarray) -> np.ndarray:
        """Class ids [h w] -> colours, uint8 [h w 3]; ignored pixels have `ignored_color`."""
        lut = np.full((self.ignored + 1, 3), self.ignored_color, np.uint8)
        lut[: len(self)] = self.colors
        return lut[label]

    @cached_property
    def ignored_color(self) -> tuple[int, int, int]:
        """The colour of ignored pixels in pictures, unlike that of any class: black where it can be."""
        return unlike(np.array(self.colors))

    def merge(self, groups: Mapping[str, Sequence[str]]) -> LabelTable:
        """A table of fewer classes, see `merge`."""
        return merge(self, groups)

    def without(self, names: Sequence[str]) -> LabelTable:
        """The table with the classes `names` ignored; errors as for `merge`."""
        return merge(self, {**{n: (n,) for n in self.names if n not in names}, IGNORE_GROUP: tuple(names)})

    def to_json(self) -> str:
        """The table as `class_names.json` text, one class a line; `from_json` reads it back."""
        rows = [
            {"name": name, "color": color, "values": values} | ({"color_values": stored} if stored != (color,) else {})
            for name, color, values, stored in zip(self.names, self.colors, self.values, self.color_values, strict=True)
        ]
        classes = ",\n    ".join(json.dumps(row) for row in rows)
        colors = f',\n  "ignore_colors": {json.dumps(self.ignore_colors)}' if self.ignore_colors else ""
        return f'{{\n  "classes": [\n    {classes}\n  ],\n  "ignore": {json.dumps(self.ignore)}{colors}\n}}\n'

    @classmethod
    def from_json(cls, content: str) -> LabelTable:
        """Reads `class_names.json`.

        Besides the full form that `to_json` writes (all but the names is optional) there are a list of names
        `["sky", "road"]`, a mapping from name to colour `{"sky": [70, 130, 180], ...}`, and those of `forms.fields`.
        Where no ids are written, the stored values are 0, 1, 2... in that order; 255 is ignored unless it is a class.

        Raises:
          LabelError: the text is not JSON or has another form.
        """
        return text.parse(content, cls)

    @classmethod
    def load(cls, path: Path) -> LabelTable:
        """Reads a `class_names.json` file; errors are LabelErrors that name its path."""
        return text.read(path, cls)


def _check_names(names: Sequence[str]) -> None:
    if not 2 <= len(names) <= MOST_CLASSES:
        raise LabelError(
            f"{len(names)} classes: a label table has 2 to {MOST_CLASSES} (the next value is kept for ignore)."
        )
    if odd := [name for name in names if not isinstance(name, str)]:
        raise LabelError(f"the class name {odd[0]!r} is no text. Write it in quotation marks.")
    if "" in names:
        raise LabelError(f"class {[*names].index('')} has an empty name. Give it one.")
    if len(set(names)) < len(names):
        repeated = sorted({name for name in names if names.count(name) > 1})
        raise LabelError(f"class names repeat: {', '.join(repeated)}. Give each class its own name.")


def _check_meanings(table: LabelTable) -> None:
    """Refuses fields of the wrong length, colours and values out of range, and values with two meanings."""
    for field in ("colors", "values", "color_values"):
        if len(getattr(table, field)) != len(table):
            raise LabelError(f"{len(getattr(table, field))} {field} for {len(table)} classes; give one for each.")
    for i, color in [*enumerate(table.colors), *table.color_meanings()]:
        if len(color) != 3 or not all(0 <= c <= 255 for c in color):
            raise LabelError(f"class {table.name(i)!r} has colour {color}; a colour is three numbers from 0 to 255.")
    for name, stored in zip(table.names, table.values, strict=True):
        if not stored:
            raise LabelError(f"class {name!r} has no stored value; give it at least one.")
    meaning: dict[int, str] = {}
    for name, stored in [*zip(table.names, table.values, strict=True), ("ignore", table.ignore)]:
        for value in stored:
            if not 0 <= value <= 65535:
                raise LabelError(f"{name!r} has the stored value {value}; values are in 0..65535.")
            if value in meaning:
                raise LabelError(
                    f"the stored value {value} means both {meaning[value]!r} and {name!r}; keep one of them."
                )
            meaning[value] = name


def merge(table: LabelTable, groups: Mapping[str, Sequence[str]]) -> LabelTable:
    """A table of fewer classes: each group of classes becomes one, in the order of the groups.

    Args:
      table: the table of the original classes.
      groups: new class -> the classes that it unites; the first one gives the colour. The group 'ignore' (optional)
        has the classes to ignore. Every class is in one group.

    Raises:
      LabelError: a group is empty or has an unknown class, or a class is in none or in two of them.
    """
    members = [name for group in groups.values() for name in group]
    unknown = [name for name in members if name not in table.names]
    if unknown:
        raise LabelError(f"there is no class {', '.join(map(repr, unknown))}; classes: {', '.join(table.names)}.")
    wrong = {name: members.count(name) for name in table.names if members.count(name) != 1}
    if wrong:
        counts = ", ".join(f"{name!r} is in {count} groups" for name, count in wrong.items())
        raise LabelError(f"{counts}. Name each class once, the ones to ignore in {IGNORE_GROUP!r}.")
    empty = [name for name, group in groups.items() if not group and name != IGNORE_GROUP]
    if empty:
        raise LabelError(f"the group {empty[0]!r} is empty; name a class in it or leave it out.")

    united = [[table.names.index(n) for n in group] for name, group in groups.items() if name != IGNORE_GROUP]
    ignored = [table.names.index(name) for name in groups.get(IGNORE_GROUP, ())]

    def union(stored: Sequence[tuple], classes: Sequence[int]) -> tuple:
        return tuple(value for i in classes for value in stored[i])

    return LabelTable(
        names=tuple(name for name in groups if name != IGNORE_GROUP),
        colors=tuple(table.colors[classes[0]] for classes in united),
        values=tuple(union(table.values, classes) for classes in united),
        ignore=table.ignore + union(table.values, ignored),
        color_values=tuple(union(table.color_values, classes) for classes in united),
        ignore_colors=table.ignore_colors + union(table.color_values, ignored),
    )


def _unknown_values(table: LabelTable, unknown: np.ndarray) -> LabelError:
    """The error for pixels whose stored values the table does not have."""
    values, counts = np.unique(unknown, return_counts=True)
    shown = ", ".join(f"{v} ({c} pixels)" for v, c in zip(values[:8], counts[:8], strict=True))
    more = f" and {len(values) - 8} more" if len(values) > 8 else ""
    known = sorted(v for stored in (*table.values, table.ignore) for v in stored)
    return LabelError(
        f"mask value {shown}{more} is not in the label table, which knows {ranges(known)}. "
        'Add it to a class\'s "values" or to "ignore" in class_names.json, or correct the mask.'
    )
