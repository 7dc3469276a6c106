"""The values or colours in the masks of an unknown data set, and a label table with a class for each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from seg_jax.curate import groups
from seg_jax.curate.groups import Values
from seg_jax.curate.kinds import MAX_DISTINCT, is_lossy, peaks
from seg_jax.curate.tally import GAP, damage, described, total
from seg_jax.data.images import DataError, read_stored
from seg_jax.data.labels import IGNORE, Color, LabelTable, cityscapes, palette
from seg_jax.data.labels.builtin import CAMVID, CAMVID32

BINARY = LabelTable(names=("background", "foreground"), values=((0,), (255,)), ignore=())
TRAIN_IDS = cityscapes.TABLES["trainids"]
BDD100K = "/labels/sem_seg/masks/"
CAMVID_FRAME = ("0001TP_", "0006R0_", "0016E5_", "Seq05VD_")  # prefixes of CamVid's file names


@dataclass(frozen=True)
class Classes:
    """A proposed label table.

    Attributes:
      table: the table to write to a file; None where `labels` names a built-in one, or where there is a file already.
      labels: value for `data.labels`.
      mask_format: value for `data.mask_format`.
      notes: the assumptions made.
    """

    table: LabelTable | None
    labels: str = ""
    mask_format: str = "auto"
    notes: tuple[str, ...] = ()


def classes(values: Values) -> Classes:
    """A label table that gives every value or colour a meaning.

    Raises:
      DataError: the masks contain only one value, or more than a table can have; or a value has several meanings.
    """
    if any(one.in_alpha for one in values.tallies):
        note = "the content is in the alpha channel: opaque is foreground"
        return Classes(BINARY, mask_format="alpha", notes=(note,))
    if values.colors and all(one.grey for one in values.tallies):
        tallies = tuple(replace(one, colors=False, codes=one.codes & 255) for one in values.tallies)
        proposed = classes(Values(tallies, total(tallies)))
        return replace(proposed, mask_format="index") if proposed.mask_format == "auto" else proposed
    if not values.colors and groups.palettes_differ(values.tallies):
        return _of_palettes(values)
    groups.refuse(values.tallies)
    if found := originals(values):
        colors, note = found
        names = _names([0, 255]) if colors == [(0, 0, 0), (255, 255, 255)] else tuple(map(_named, colors))
        return Classes(_table(names, tuple(colors)), mask_format="nearest", notes=(note,))
    codes = values.codes
    if values.colors:
        return _of_colors([_color(code) for code in codes], values)
    if codes[-1] <= max(CAMVID.ignore[:-1]) and len(codes) >= 10 and _is_camvid(values):
        return Classes(None, labels="camvid", notes=("the file names are those of CamVid, the values SegNet's",))
    if _is_bdd100k(values):
        table = LabelTable(names=TRAIN_IDS.names, colors=TRAIN_IDS.colors)
        return Classes(table, notes=("the directories are those of BDD100K, whose values are Cityscapes' train ids",))
    kept, ignored, notes = _ignored(values)
    shown = tuple(values.whole.palette.get(value[0], (0, 0, 0)) for value in kept)
    shown = shown if len(set(shown)) == len(kept) else palette(len(kept))
    table = _table(_names([value[0] for value in kept]), shown, values=kept, ignore=ignored)
    return Classes(table, notes=notes)


def _of_palettes(values: Values) -> Classes:
    """Classes for palette files in which a value has the palette's colour, whatever the value."""
    one, other = groups.palettes_differ(values.tallies) or ("", "")
    if plain := [tally.name for tally in values.tallies if not tally.palette]:
        raise DataError(
            f"the palettes of {one} and {other} show a value in different colours, and {plain[0]} has no palette. "
            "Write all masks as colours, or all as plain values."
        )
    proposed = _of_colors(sorted({color for tally in values.tallies for color in tally.palette.values()}), values)
    note = f"palettes differ, such as those of {one} and {other}: their colours are read, not the values"
    return replace(proposed, mask_format="color", notes=(*proposed.notes, note))


def originals(values: Values) -> tuple[list[Color], str] | None:
    """The colours of the classes in masks that JPEG or resizing has damaged, and a note; None for others.

    Values are grey. Black and white are restored, other colours kept as measured.

    Raises:
      DataError: the classes are too close to each other for what is between them to have a nearest one.
    """
    note = "the masks were damaged (JPEG, or resizing): each pixel means the nearest of these colours"
    whole = values.whole
    lossy = any(is_lossy(Path(one.name)) for one in values.tallies)
    blended = damage(whole)
    if blended.any() and not whole.colors and whole.codes[-1] > 255:
        raise DataError(
            "the masks of 16 bits were resized with interpolation, or antialiased: the values "
            f"{described(whole, blended)} occur only between others. Export them again, resized by nearest neighbour."
        )
    if blended.any() and not lossy:
        colors = [_color(code) if whole.colors else (code, code, code) for code in whole.codes[~blended].tolist()]
        if not whole.colors and min(b[0] - a[0] for a, b in pairwise(colors)) < GAP:
            raise DataError(
                f"the masks were resized with interpolation: the values {described(whole, blended)} occur only between "
                f"others, which are {described(whole, ~blended)} and too close to tell what was between them. Export "
                "the masks again, resized by nearest neighbour."
            )
        share = whole.pixels[blended].sum() / whole.pixels.sum()
        note += f"; {described(whole, blended)} ({share:.2%} of the pixels) are only between others"
    elif len(whole.codes) > MAX_DISTINCT or lossy:
        colors = peaks(read_stored(Path(one.name)).pixels for one in values.sample) or []
        if lossy and not colors and len(whole.codes) > 1:
            raise DataError(
                f"the masks are JPEG files, with {described(whole, whole.codes >= 0)}: JPEG changes values by several, "
                "so classes that are this close to each other are lost. Export the masks again as PNG."
            )
        if not 0 < len(colors) < len(whole.codes):
            return None
    else:
        return None
    return sorted((_restored(red), _restored(green), _restored(blue)) for red, green, blue in colors), note


def _of_colors(colors: list[Color], values: Values) -> Classes:
    if set(colors) <= set(CAMVID32.colors) and (len(colors) >= 12 or _is_camvid(values)):
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
    return Classes(_table(tuple(_named(color) for color in colors), tuple(colors)))


def _restored(value: int) -> int:
    return 0 if value < 20 else 255 if value > 235 else value


def _ignored(values: Values) -> tuple[tuple[tuple[int, ...], ...], tuple[int, ...], tuple[str, ...]]:
    """(values of each class, ignored values, assumptions)."""
    codes = values.codes
    single = tuple((value,) for value in codes)
    if IGNORE not in codes:
        return single, (IGNORE,), ()
    others = [value for value in codes if value != IGNORE]
    if len(others) < 2 or others[-1] >= MAX_DISTINCT:
        return single, (), ("255 is a class: the other values are not a row of class indices",)
    only, among = groups.alone(values.tallies, frozenset({IGNORE}), frozenset(codes))
    if not only:
        return single[:-1], (IGNORE,), ("255 is ignored, as is usual beside class indices",)
    if among:
        note = f"255 is ignored, as in {among[0]}; but it is the only value beside another in {only[0]}: look at both"
        return single[:-1], (IGNORE,), (note,)
    if others == [0, 1]:
        other = next(one.name for one in values.tallies if 1 in one.values)
        note = f"1 and 255 are the same class: {other} contains 0 and 1, {only[0]} contains 0 and 255"
        return ((0,), (1, IGNORE)), (), (note,)
    return single, (), (f"255 is a class: it is the only value beside another in {only[0]}",)


def _names(values: list[int]) -> tuple[str, ...]:
    binary = len(values) == 2 and values[0] == 0
    return ("background", "foreground") if binary else tuple(f"class_{value}" for value in values)


def _table(names: tuple[str, ...], colors: tuple[Color, ...], **fields: Any) -> LabelTable:
    if not 2 <= len(names) <= IGNORE:
        few = (
            "Were they saved as another kind of image? Save them with a value for each class, also for the background."
        )
        many = "Are they ids of single objects? Save the class of each object instead."
        raise DataError(
            f"the masks contain {len(names)} value(s) that could be classes ({', '.join(names[:3])}"
            f"{', ...' * (len(names) > 3)}); there are 2 to {IGNORE}. {few if len(names) < 2 else many}"
        )
    return LabelTable(names=names, colors=colors, **fields)


def _is_camvid(values: Values) -> bool:
    return all(Path(one.name).stem.startswith(CAMVID_FRAME) for one in values.tallies)


def _is_bdd100k(values: Values) -> bool:
    """Whether the directories are BDD100K's, and nearly all train ids occur: other sets may have its layout."""
    inside = all(BDD100K in Path(one.name).as_posix() for one in values.tallies)
    found = {*values.codes} - {IGNORE}
    return inside and found <= {*range(len(TRAIN_IDS))} and len(found) >= 0.8 * len(TRAIN_IDS)


def _color(code: int) -> Color:
    return code >> 16, code >> 8 & 255, code & 255


def _named(color: Color) -> str:
    return "color_" + "_".join(map(str, color))
