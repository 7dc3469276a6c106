"""What the masks of an unknown data set hold: every value or colour, and a label table that gives each a class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seg_jax.curate.layout import FEW, LOSSY, codes, distinct, peaks
from seg_jax.data.checking import in_parallel
from seg_jax.data.images import DataError, read_stored
from seg_jax.data.labels import IGNORE, Color, LabelError, LabelTable, cityscapes, palette
from seg_jax.data.labels.builtin import CAMVID, CAMVID32
from seg_jax.data.labels.masks import MaskReader

MOST = 5000  # more values or colours than that are damage
SAMPLE = 24  # masks in which the colours behind JPEG's damage are looked for
CAMVID_FRAME = ("0001TP_", "0006R0_", "0016E5_", "Seq05VD_")  # what the names of its photographs begin with


@dataclass(frozen=True)
class Values:
    """What was found in masks.

    Attributes:
      colors: whether they hold colours, red * 65536 + green * 256 + blue, and not values.
      found: every value or colour, ascending; of more than `MOST` only some.
      shown: value -> the colour in which palette files show it.
    """

    colors: bool
    found: tuple[int, ...]
    shown: Mapping[int, Color]


@dataclass(frozen=True)
class Classes:
    """What the label table of a data set is proposed to be.

    Attributes:
      table: to be written to a file; None where `labels` names a built-in one.
      labels: for `data.labels`.
      mask_format: for `data.mask_format`.
      notes: what was assumed.
    """

    table: LabelTable | None
    labels: str = ""
    mask_format: str = "auto"
    notes: tuple[str, ...] = ()


def survey(masks: Sequence[Path], *, threads: int = 4) -> Values:
    """Decodes all masks; those that cannot be decoded are passed over.

    Raises:
      DataError: none can be decoded, or some hold values and others colours.
    """

    def look(i: int) -> tuple[bool, np.ndarray, np.ndarray | None] | DataError:
        try:
            stored = read_stored(masks[i])
        except DataError as error:
            return error
        return stored.pixels.ndim == 3, np.unique(codes(stored.pixels)), stored.palette

    kinds: dict[bool, Path] = {}
    found: set[int] = set()
    shown: dict[int, Color] = {}
    with closing(in_parallel(look, len(masks), threads=threads, title="reading masks")) as results:
        for path, result in zip(masks, results, strict=True):
            if isinstance(result, DataError):
                unread = result
                continue
            colors, values, colours = result
            kinds.setdefault(colors, path)
            if len(found) <= MOST:
                found.update(values.tolist())
            if colours is not None:
                for value in values[values < len(colours)].tolist():
                    red, green, blue = colours[value].tolist()
                    shown.setdefault(value, (red, green, blue))
    if not kinds:
        raise DataError(f"no mask can be decoded: {unread}")
    if len(kinds) == 2:
        raise DataError(
            f"{kinds[False]} holds values and {kinds[True]} colours. Convert the masks to one form, or write "
            "class_names.json with both and a configuration by hand."
        )
    return Values(True in kinds, tuple(sorted(found)), shown)


def mask_format(table: LabelTable, masks: Sequence[Path]) -> str:
    """For `data.mask_format`: the first form in which the table understands a sample of masks, 'auto' if none does."""
    sample = _sample(masks)
    forms = ["auto", "color"]
    if any(distinct(read_stored(path).pixels) > FEW for path in sample):  # fewer unknown colours are a class
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
    """A label table in which every value or colour has a meaning.

    Raises:
      DataError: the masks hold one value only, or more than a table can have.
    """
    found = list(values.found)
    if len(found) > FEW or any(path.suffix.lower() in LOSSY for path in masks):
        blurred = peaks(read_stored(path).pixels for path in _sample(masks))
        if blurred and len(blurred) < len(found):
            return _damaged(blurred)
    if values.colors:
        return _of_colors([_color(code) for code in found], masks)
    if found[-1] <= max(CAMVID.ignore[:-1]) and len(found) >= 10 and _is_camvid(masks):
        return Classes(None, labels="camvid", notes=("the file names are those of CamVid, the values SegNet's",))
    kept, ignored, note = _ignored(found)
    colors = tuple(values.shown.get(value, (0, 0, 0)) for value in kept)
    colors = colors if len(set(colors)) == len(kept) else palette(len(kept))
    table = _table(_names(kept), colors, values=tuple((value,) for value in kept), ignore=ignored)
    return Classes(table, notes=note)


def _of_colors(colors: list[Color], masks: Sequence[Path]) -> Classes:
    if set(colors) <= set(CAMVID32.colors) and (len(colors) >= 12 or _is_camvid(masks)):
        return Classes(None, labels="camvid32", notes=("the colours are those of CamVid's 32 classes",))
    if len(colors) > FEW:
        raise DataError(
            f"the masks hold {len(colors)} colours, which is more than classes. Write their table by hand (label_colors"
            ".txt, class_dict.csv or class_names.json in the directory), and set config.data.mask_format='nearest' if "
            "the masks were damaged by JPEG or by resizing."
        )
    by_color = {x.color: x.name for x in reversed(cityscapes.LABELS)}
    if len(colors) >= 3 and set(colors) <= set(by_color):
        ordered = sorted(colors, key=list(reversed(by_color)).index)
        notes = ("the colours are those of Cityscapes",)
        return Classes(_table(tuple(by_color[color] for color in ordered), tuple(ordered)), notes=notes)
    if all(red == green == blue for red, green, blue in colors):
        kept, ignored, note = _ignored([color[0] for color in colors])
        table = _table(_names(kept), tuple((v, v, v) for v in kept), ignore_colors=tuple((v, v, v) for v in ignored))
        return Classes(table, notes=note)
    return Classes(_table(tuple(_named(color) for color in colors), tuple(colors)))


def _damaged(colors: list[Color]) -> Classes:
    """Of colours that were blurred: black and white are restored, others are as they were found."""
    clean = tuple(sorted((_restored(red), _restored(green), _restored(blue)) for red, green, blue in colors))
    black_and_white = clean == ((0, 0, 0), (255, 255, 255))
    names = _names([0, 255]) if black_and_white else tuple(_named(color) for color in clean)
    note = "the masks were damaged (JPEG, or resizing): each pixel means the nearest of these colours"
    return Classes(_table(names, clean), mask_format="nearest", notes=(note,))


def _restored(value: int) -> int:
    return 0 if value < 20 else 255 if value > 235 else value


def _ignored(found: list[int]) -> tuple[list[int], tuple[int, ...], tuple[str, ...]]:
    """(values that are classes, values that are ignored, what was assumed)."""
    if IGNORE not in found:
        return found, (IGNORE,), ()
    others = [value for value in found if value != IGNORE]
    if len(others) >= 2 and others[-1] < FEW:
        return others, (IGNORE,), ("255 is ignored, as is usual beside class indices",)
    return found, (), ("255 is a class: the other values are no row of class indices",)


def _names(kept: list[int]) -> tuple[str, ...]:
    binary = len(kept) == 2 and kept[0] == 0
    return ("background", "foreground") if binary else tuple(f"class_{value}" for value in kept)


def _table(names: tuple[str, ...], colors: tuple[Color, ...], **fields: Any) -> LabelTable:
    if not 2 <= len(names) <= IGNORE:
        raise DataError(
            f"the masks hold {len(names)} value(s) that could be classes; there are 2 to {IGNORE}. "
            + ("Were they saved as another kind of image?" if len(names) < 2 else "Are they ids of single objects?")
        )
    return LabelTable(names=names, colors=colors, **fields)


def _sample(masks: Sequence[Path]) -> list[Path]:
    """Some masks of all, those that can be decoded."""
    chosen = [masks[i] for i in np.unique(np.linspace(0, len(masks) - 1, min(SAMPLE, len(masks))).astype(int))]
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
