"""LabelTable: the single owner of what a pixel value of a mask means.

Inside the program class ids are 0..k-1 and `IGNORE` (255) marks pixels that count nowhere. A table
knows the ordered class names, their colours, which stored values mean which class, and which stored
values are ignored. A value that it does not know is never guessed: `encode` reports it.
"""

from __future__ import annotations

import colorsys
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

IGNORE = 255
UNKNOWN = 254  # no class id where there are at most 254 classes
IGNORE_GROUP = "ignore"  # in groups of classes: the name of those that count nowhere
Color = tuple[int, int, int]


class LabelError(ValueError):
    """A label table or a mask that cannot be understood."""


def palette(k: int) -> tuple[Color, ...]:
    """`k` well separated colours (0..255), for tables that bring none; the same every time."""
    # Steps of the golden ratio in hue never repeat and stay far from their predecessors.
    steps = ((0.61803399 * i % 1.0, 0.55 + 0.4 * (i % 2), 0.95 - 0.25 * (i % 3)) for i in range(k))
    return tuple(
        (round(255 * r), round(255 * g), round(255 * b)) for r, g, b in (colorsys.hsv_to_rgb(*s) for s in steps)
    )


@dataclass(frozen=True)
class LabelTable:
    """Names, colours and stored values of the classes 0..k-1.

    Attributes:
      names: class names in the order of their ids; unique, at least two, at most 255.
      colors: one (red, green, blue) per class, 0..255.
      values: for each class the stored mask values that mean it; default: its own id.
      ignore: the stored values that mean 'ignore'; default: 255.
      color_values: for each class the colours that mean it in masks that hold colours; default: its own.
      ignore_colors: the colours that mean 'ignore' there.

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
        k = len(self.names)
        if not 2 <= k <= IGNORE:
            raise LabelError(f"{k} classes: a label table has 2 to {IGNORE} (255 is kept for ignore).")
        if len(set(self.names)) < k:
            twice = sorted({n for n in self.names if self.names.count(n) > 1})
            raise LabelError(f"class names repeat: {', '.join(twice)}. Give each class its own name.")
        if not self.colors:
            object.__setattr__(self, "colors", palette(k))
        if not self.values:
            object.__setattr__(self, "values", tuple((i,) for i in range(k)))
        if not self.color_values:
            object.__setattr__(self, "color_values", tuple((color,) for color in self.colors))
        for field in ("colors", "values", "color_values"):
            if len(getattr(self, field)) != k:
                raise LabelError(f"{len(getattr(self, field))} {field} for {k} classes; give one for each.")
        for i, color in [*enumerate(self.colors), *self.color_meanings()]:
            if len(color) != 3 or not all(0 <= c <= 255 for c in color):
                raise LabelError(f"class {self.name(i)!r} has colour {color}; a colour is three numbers from 0 to 255.")
        for name, stored in zip(self.names, self.values, strict=True):
            if not stored:
                raise LabelError(f"class {name!r} has no stored value; give it at least one.")
        meaning: dict[int, str] = {}
        for name, stored in [*zip(self.names, self.values, strict=True), ("ignore", self.ignore)]:
            for value in stored:
                if not 0 <= value <= 65535:
                    raise LabelError(f"{name!r} has the stored value {value}; values lie in 0..65535.")
                if value in meaning:
                    raise LabelError(
                        f"the stored value {value} means both {meaning[value]!r} and {name!r}; keep one of them."
                    )
                meaning[value] = name

    def __len__(self) -> int:
        return len(self.names)

    def name(self, i: int) -> str:
        """The class with the id `i`, 'ignore' for 255."""
        return IGNORE_GROUP if i == IGNORE else self.names[i]

    def color_meanings(self) -> list[tuple[int, Color]]:
        """(class id or 255, colour) for every colour that has a meaning in masks, in the order of the classes."""
        groups = [*enumerate(self.color_values), (IGNORE, self.ignore_colors)]
        return [(i, color) for i, colors in groups for color in colors]

    @cached_property
    def _lut(self) -> np.ndarray:
        """int16 [65536]: stored value -> class id, IGNORE, or -1 where the value is unknown."""
        lut = np.full(65536, -1, np.int16)
        for i, stored in enumerate(self.values):
            lut[list(stored)] = i
        lut[list(self.ignore)] = IGNORE
        return lut

    @cached_property
    def _bytes(self) -> bytes:
        """The same for values of one byte, as `bytes.translate` takes it; `UNKNOWN` where the value is unknown."""
        return np.where(self._lut[:256] < 0, UNKNOWN, self._lut[:256]).astype(np.uint8).tobytes()

    def encode(self, mask: np.ndarray) -> np.ndarray:
        """Stored values, integer [h w] -> class ids, uint8 [h w], 255 where ignored.

        Raises:
          LabelError: the mask holds values outside the table; names each with its pixel count.
        """
        if mask.dtype == np.uint8 and len(self) <= UNKNOWN:  # a third of the time
            ids = bytearray(mask).translate(self._bytes)
            if UNKNOWN not in ids:
                return np.frombuffer(ids, np.uint8).reshape(mask.shape)
        label = self._lut[mask]
        if (label < 0).any():
            values, counts = np.unique(mask[label < 0], return_counts=True)
            shown = ", ".join(f"{v} ({c} pixels)" for v, c in zip(values[:8], counts[:8], strict=True))
            more = f" and {len(values) - 8} more" if len(values) > 8 else ""
            known = sorted(v for stored in (*self.values, self.ignore) for v in stored)
            raise LabelError(
                f"mask value {shown}{more} is not in the label table, which knows {_ranges(known)}. "
                'Add it to a class\'s "values" or to "ignore" in class_names.json, or correct the mask.'
            )
        return label.astype(np.uint8)

    def decode(self, label: np.ndarray) -> np.ndarray:
        """Class ids [h w] -> the first stored value of each class, uint8 or uint16.

        255 becomes a stored value that means 'ignore', 255 itself if it is one or if there is none.
        """
        ignored = IGNORE if IGNORE in self.ignore or not self.ignore else self.ignore[0]
        first = np.full(256, ignored, np.uint16)
        first[: len(self)] = [stored[0] for stored in self.values]
        return first[label].astype(np.uint8 if first.max() <= 255 else np.uint16)

    def colorize(self, label: np.ndarray) -> np.ndarray:
        """Class ids, uint8 [h w] -> colours, uint8 [h w 3]; ignored pixels become black."""
        lut = np.zeros((256, 3), np.uint8)
        lut[: len(self)] = self.colors
        return lut[label]

    def merge(self, groups: Mapping[str, Sequence[str]]) -> LabelTable:
        """A table of fewer classes: each group of classes becomes one, in the order of the groups.

        Args:
          groups: new class -> the classes that it unites, whose first one gives the colour; 'ignore' (which may be
            left out) -> those that count nowhere. Every class is in one group.

        Raises:
          LabelError: a group is empty or has an unknown class, or a class is in none or in two of them.
        """
        members = [name for group in groups.values() for name in group]
        unknown = [name for name in members if name not in self.names]
        if unknown:
            raise LabelError(f"there is no class {', '.join(map(repr, unknown))}; classes: {', '.join(self.names)}.")
        wrong = {name: members.count(name) for name in self.names if members.count(name) != 1}
        if wrong:
            counts = ", ".join(f"{name!r} is in {count} groups" for name, count in wrong.items())
            raise LabelError(f"{counts}. Name each class once, those that count nowhere in {IGNORE_GROUP!r}.")
        empty = [name for name, group in groups.items() if not group and name != IGNORE_GROUP]
        if empty:
            raise LabelError(f"the group {empty[0]!r} is empty; name a class in it or leave it out.")

        kept = [[self.names.index(n) for n in group] for name, group in groups.items() if name != IGNORE_GROUP]
        ignored = [self.names.index(name) for name in groups.get(IGNORE_GROUP, ())]

        def union(stored: Sequence[tuple], classes: Sequence[int]) -> tuple:
            return tuple(value for i in classes for value in stored[i])

        return LabelTable(
            names=tuple(name for name in groups if name != IGNORE_GROUP),
            colors=tuple(self.colors[classes[0]] for classes in kept),
            values=tuple(union(self.values, classes) for classes in kept),
            ignore=self.ignore + union(self.values, ignored),
            color_values=tuple(union(self.color_values, classes) for classes in kept),
            ignore_colors=self.ignore_colors + union(self.color_values, ignored),
        )

    def without(self, names: Sequence[str]) -> LabelTable:
        """The table whose classes `names` are ignored; see `merge`."""
        return self.merge({**{name: (name,) for name in self.names if name not in names}, IGNORE_GROUP: tuple(names)})

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
    def from_json(cls, text: str) -> LabelTable:
        """Reads `class_names.json`.

        Three forms are understood: the full one that `to_json` writes (all but the names is optional), a list
        of names `["sky", "road"]`, and a mapping from name to colour `{"sky": [70, 130, 180], ...}`. In the
        last two the stored values are 0, 1, 2... in that order and 255 is ignored.

        Raises:
          LabelError: the text is not JSON or has another form.
        """
        try:
            data = json.loads(text, object_pairs_hook=_unrepeated)
        except json.JSONDecodeError as error:
            raise LabelError(f"class_names.json is not valid JSON: {error}") from error
        try:
            if isinstance(data, list):
                return cls(names=tuple(str(name) for name in data))
            if "classes" not in data:
                return cls(names=tuple(data), colors=tuple(_color(c) for c in data.values()))
            classes = data["classes"]
            spare = palette(len(classes))
            colors = tuple(_color(c.get("color", spare[i])) for i, c in enumerate(classes))
            return cls(
                names=tuple(c["name"] for c in classes),
                colors=colors,
                values=tuple(tuple(int(v) for v in c.get("values", [i])) for i, c in enumerate(classes)),
                ignore=tuple(int(v) for v in data.get("ignore", [IGNORE])),
                color_values=tuple(
                    tuple(_color(v) for v in c.get("color_values", [colors[i]])) for i, c in enumerate(classes)
                ),
                ignore_colors=tuple(_color(v) for v in data.get("ignore_colors", [])),
            )
        except LabelError:
            raise
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise LabelError(
                f"class_names.json has an unknown form ({type(error).__name__}: {error}). Write a list of names, "
                '{"name": [r, g, b], ...}, or {"classes": [{"name": ..., "color": ..., "values": [...]}], '
                '"ignore": [255]}.'
            ) from error

    @classmethod
    def load(cls, path: Path) -> LabelTable:
        """Reads a `class_names.json` file; errors carry its path."""
        try:
            return cls.from_json(path.read_text(encoding="utf-8-sig"))
        except OSError as error:
            raise LabelError(f"cannot read the label table {path}: {error.strerror}.") from error
        except UnicodeDecodeError as error:
            raise LabelError(f"{path}: class_names.json is not UTF-8 text ({error.reason}).") from error
        except LabelError as error:
            raise LabelError(f"{path}: {error}") from error


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; the decoder alone would keep the last of two equal names, which shifts all class ids."""
    content = dict(pairs)
    if len(content) < len(pairs):
        twice = next(name for i, (name, _) in enumerate(pairs) if name in dict(pairs[:i]))
        raise LabelError(f"class_names.json: {twice!r} is there twice. Keep one of them.")
    return content


def _color(value: Sequence[int]) -> Color:
    red, green, blue = (int(c) for c in value)
    return red, green, blue


def _ranges(values: Sequence[int]) -> str:
    """[0, 1, 2, 5] -> '0-2, 5'."""
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
