"""The values or colours in the masks of an unknown data set, and a label table with a class for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seg_jax.curate.kinds import LOSSY, MAX_DISTINCT, color_codes, distinct, peaks
from seg_jax.data.checking import in_parallel
from seg_jax.data.images import DataError, read_stored
from seg_jax.data.labels import IGNORE, Color, LabelError, LabelTable, cityscapes, palette
from seg_jax.data.labels.builtin import CAMVID, CAMVID32
from seg_jax.data.labels.masks import MaskReader

MAX_COLLECTED = 5000  # values or colours; more of them are damage and are not collected
MAX_SAMPLED = 24  # masks in which the original colours are searched for when JPEG has damaged them
CAMVID_FRAME = ("0001TP_", "0006R0_", "0016E5_", "Seq05VD_")  # prefixes of CamVid's file names


@dataclass(frozen=True)
class Values:
    """The values or colours in some masks.

    Attributes:
      colors: whether they are colours, red * 65536 + green * 256 + blue, rather than values.
      codes: every value or colour, ascending; only some if there are more than `MAX_COLLECTED`.
      palette: value -> its colour in the palette of palette files.
    """

    colors: bool
    codes: tuple[int, ...]
    palette: Mapping[int, Color]


@dataclass(frozen=True)
class Classes:
    """A proposed label table.

    Attributes:
      table: the table to write to a file; None where `labels` names a built-in one.
      labels: value for `data.labels`.
      mask_format: value for `data.mask_format`.
      notes: the assumptions made.
    """

    table: LabelTable | None
    labels: str = ""
    mask_format: str = "auto"
    notes: tuple[str, ...] = ()


def survey(masks: Sequence[Path], *, threads: int = 4) -> Values:
    """Decodes all masks, skipping those that cannot be decoded.

    Raises:
      DataError: none can be decoded, or some contain values and others colours.
    """

    def read(i: int) -> tuple[bool, np.ndarray, np.ndarray | None] | DataError:
        try:
            stored = read_stored(masks[i])
        except DataError as error:
            return error
        return stored.pixels.ndim == 3, np.unique(color_codes(stored.pixels)), stored.palette

    kinds: dict[bool, Path] = {}
    found: set[int] = set()
    colors: dict[int, Color] = {}
    with closing(in_parallel(read, len(masks), threads=threads, title="reading masks")) as results:
        for path, result in zip(masks, results, strict=True):
            if isinstance(result, DataError):
                unread = result
                continue
            is_color, values, palette_colors = result
            kinds.setdefault(is_color, path)
            if len(found) <= MAX_COLLECTED:
                found.update(values.tolist())
            if palette_colors is not None:
                for value in values[values < len(palette_colors)].tolist():
                    red, green, blue = palette_colors[value].tolist()
                    colors.setdefault(value, (red, green, blue))
    if not kinds:
        raise DataError(f"no mask can be decoded: {unread}")
    if len(kinds) == 2:
        raise DataError(
            f"{kinds[False]} contains values and {kinds[True]} colours. Convert the masks to one form, or write "
            "class_names.json with both and a configuration by hand."
        )
    return Values(True in kinds, tuple(sorted(found)), colors)


def mask_format(table: LabelTable, masks: Sequence[Path]) -> str:
    """A value for `data.mask_format`: the first format in which the table can read some masks, 'auto' if none can."""
    sample = _sample(masks)
    forms = ["auto", "color"]
    if any(distinct(read_stored(path).pixels) > MAX_DISTINCT for path in sample):  # else unknown colours are classes
        forms.append("nearest")
    for form in forms:
        reader = MaskReader(table, form)
        try:
            for path in sample:
                reader.read(path)
            return form
        except (DataError, LabelError):
            continue
    return "auto"


def classes(values: Values, masks: Sequence[Path]) -> Classes:
    """A label table that gives every value or colour a meaning.

    Raises:
      DataError: the masks contain only one value, or more than a table can have.
    """
    codes = list(values.codes)
    if len(codes) > MAX_DISTINCT or any(path.suffix.lower() in LOSSY for path in masks):
        originals = peaks(read_stored(path).pixels for path in _sample(masks))
        if originals and len(originals) < len(codes):
            return _damaged(originals)
    if values.colors:
        return _of_colors([_color(code) for code in codes], masks)
    if codes[-1] <= max(CAMVID.ignore[:-1]) and len(codes) >= 10 and _is_camvid(masks):
        return Classes(None, labels="camvid", notes=("the file names are those of CamVid, the values SegNet's",))
    labelled, ignored, note = _ignored(codes)
    colors = tuple(values.palette.get(value, (0, 0, 0)) for value in labelled)
    colors = colors if len(set(colors)) == len(labelled) else palette(len(labelled))
    table = _table(_names(labelled), colors, values=tuple((value,) for value in labelled), ignore=ignored)
    return Classes(table, notes=note)


def _of_colors(colors: list[Color], masks: Sequence[Path]) -> Classes:
    if set(colors) <= set(CAMVID32.colors) and (len(colors) >= 12 or _is_camvid(masks)):
        return Classes(None, labels="camvid32", notes=("the colours are those of CamVid's 32 classes",))
    if len(colors) > MAX_DISTINCT:
        raise DataError(
            f"the masks contain {len(colors)} colours, too many to be classes. Write their table by hand "
            "(label_colors.txt, class_dict.csv or class_names.json in the directory), and set "
            "config.data.mask_format='nearest' if the masks were damaged by JPEG or by resizing."
        )
    by_color = {x.color: x.name for x in reversed(cityscapes.LABELS)}
    if len(colors) >= 3 and set(colors) <= set(by_color):
        ordered = sorted(colors, key=list(reversed(by_color)).index)
        notes = ("the colours are those of Cityscapes",)
        return Classes(_table(tuple(by_color[color] for color in ordered), tuple(ordered)), notes=notes)
    if all(red == green == blue for red, green, blue in colors):
        labelled, ignored, note = _ignored([color[0] for color in colors])
        greys, ignore_colors = (tuple((v, v, v) for v in group) for group in (labelled, ignored))
        return Classes(_table(_names(labelled), greys, ignore_colors=ignore_colors), notes=note)
    return Classes(_table(tuple(_named(color) for color in colors), tuple(colors)))


def _damaged(colors: list[Color]) -> Classes:
    """Classes for colours that were blurred: black and white are restored, others kept as measured."""
    clean = tuple(sorted((_restored(red), _restored(green), _restored(blue)) for red, green, blue in colors))
    black_and_white = clean == ((0, 0, 0), (255, 255, 255))
    names = _names([0, 255]) if black_and_white else tuple(_named(color) for color in clean)
    note = "the masks were damaged (JPEG, or resizing): each pixel means the nearest of these colours"
    return Classes(_table(names, clean), mask_format="nearest", notes=(note,))


def _restored(value: int) -> int:
    return 0 if value < 20 else 255 if value > 235 else value


def _ignored(values: list[int]) -> tuple[list[int], tuple[int, ...], tuple[str, ...]]:
    """(values of classes, ignored values, assumptions)."""
    if IGNORE not in values:
        return values, (IGNORE,), ()
    others = [value for value in values if value != IGNORE]
    if len(others) >= 2 and others[-1] < MAX_DISTINCT:
        return others, (IGNORE,), ("255 is ignored, as is usual beside class indices",)
    return values, (), ("255 is a class: the other values are not a row of class indices",)


def _names(values: list[int]) -> tuple[str, ...]:
    binary = len(values) == 2 and values[0] == 0
    return ("background", "foreground") if binary else tuple(f"class_{value}" for value in values)


def _table(names: tuple[str, ...], colors: tuple[Color, ...], **fields: Any) -> LabelTable:
    if not 2 <= len(names) <= IGNORE:
        raise DataError(
            f"the masks contain {len(names)} value(s) that could be classes; there are 2 to {IGNORE}. "
            + ("Were they saved as another kind of image?" if len(names) < 2 else "Are they ids of single objects?")
        )
    return LabelTable(names=names, colors=colors, **fields)


def _sample(masks: Sequence[Path]) -> list[Path]:
    """At most `MAX_SAMPLED` masks spread evenly over all, without those that cannot be decoded."""
    chosen = [masks[i] for i in np.unique(np.linspace(0, len(masks) - 1, min(MAX_SAMPLED, len(masks))).astype(int))]
    return [path for path in chosen if _readable(path)]


def _readable(path: Path) -> bool:
    try:
        read_stored(path)
        return True
    except DataError:
        return False


def _is_camvid(masks: Sequence[Path]) -> bool:
    return all(path.stem.startswith(CAMVID_FRAME) for path in masks)


def _color(code: int) -> Color:
    return code >> 16, code >> 8 & 255, code & 255


def _named(color: Color) -> str:
    return "color_" + "_".join(map(str, color))
