"""How the masks of a data set are read by a label table that it brings, whose values may be those of other masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from seg_jax.curate import groups
from seg_jax.curate.classes import BINARY, Classes, originals
from seg_jax.curate.groups import Values
from seg_jax.curate.kinds import MAX_DISTINCT, distinct, is_lossy
from seg_jax.data.images import DataError, read_stored
from seg_jax.data.labels import IGNORE, LabelError, LabelTable
from seg_jax.data.labels.masks import MaskReader


def known(table: LabelTable, values: Values) -> Classes:
    """The table as the masks need it, in `Classes.table` if that differs from what the file says.

    Names alone leave the values open: they are those that the masks contain, in ascending order, where there are just
    as many. Colours with red and blue exchanged are exchanged back.

    Raises:
      DataError: a value has several meanings in the masks.
    """
    plain = table.values == tuple((i,) for i in range(len(table))) and table.ignore == (IGNORE,)
    if any(one.in_alpha for one in values.tallies):
        if len(table) != 2 or not plain:
            return Classes(None, mask_format="alpha")
        note = f"the content is in the alpha channel: opaque is {table.names[1]!r}"
        return Classes(replace(table, values=BINARY.values, ignore=()), mask_format="alpha", notes=(note,))
    if not values.colors and not groups.palettes_differ(values.tallies):
        groups.refuse(values.tallies)
    adapted, notes = table, []
    damaged = originals(values)
    if damaged:
        notes.append(damaged[1])
        codes = sorted(red << 16 | green << 8 | blue for red, green, blue in damaged[0])
    else:
        codes = values.codes
    as_values = not values.colors or all(one.grey for one in values.tallies)
    if as_values and plain:
        adapted, note = _with_values(
            table, values, sorted({code & 255 if damaged or values.colors else code for code in codes})
        )
    elif values.colors and _exchanged(table, codes):
        adapted = replace(
            table,
            color_values=tuple(tuple((b, g, r) for r, g, b in group) for group in table.color_values),
            ignore_colors=tuple((b, g, r) for r, g, b in table.ignore_colors),
        )
        note = "red and blue are exchanged in the masks, as where OpenCV wrote an RGB array"
    else:
        note = ""
    if damaged and as_values:
        greys = tuple(tuple((v, v, v) for v in group) for group in adapted.values)
        adapted = replace(adapted, color_values=greys, ignore_colors=tuple((v, v, v) for v in adapted.ignore))
    form = mask_format(adapted, [Path(one.name) for one in values.sample], damaged=damaged is not None)
    return Classes(None if adapted == table else adapted, mask_format=form, notes=(*([note] if note else []), *notes))


def _with_values(table: LabelTable, values: Values, codes: list[int]) -> tuple[LabelTable, str]:
    """The table with the values that the masks contain, where these are as many as its names; and a note."""
    if any(code > 65535 for code in codes) or codes == list(range(len(table))):
        return table, ""
    only, among = groups.alone(values.tallies, frozenset({IGNORE}), frozenset(codes))
    if codes == [0, 1, IGNORE] and len(table) == 2 and only and not among:
        other = next(one.name for one in values.tallies if 1 in one.values)
        note = f"1 and 255 both are {table.names[1]!r}: {other} contains 0 and 1, {only[0]} contains 0 and 255"
        return replace(table, values=((0,), (1, IGNORE)), ignore=()), note
    if len(codes) != len(table) or (IGNORE in codes and among):
        return table, ""
    pairs = ", ".join(f"{code} is {name!r}" for code, name in zip(codes, table.names, strict=True))
    adapted = replace(table, values=tuple((code,) for code in codes), ignore=() if IGNORE in codes else table.ignore)
    return adapted, f"the names are those of the values in the masks, in their order: {pairs}"


def _exchanged(table: LabelTable, codes: list[int]) -> bool:
    """Whether all colours are in a table once red and blue are exchanged, and not all of them as they are."""
    meant = {color for _, color in table.color_meanings()}
    colors = {(code >> 16, code >> 8 & 255, code & 255) for code in codes}
    return not colors <= meant and {color[::-1] for color in colors} <= meant


def mask_format(table: LabelTable, masks: Sequence[Path], *, damaged: bool = False) -> str:
    """A value for `data.mask_format`: the first format in which the table can read the masks, 'auto' if none can.

    Args:
      table: the table.
      masks: masks that can be decoded.
      damaged: whether unknown values or colours are damage, which have the nearest class, rather than classes.
    """
    forms = ["nearest"] if damaged else ["auto", "color"]
    if not damaged and any(is_lossy(path) or distinct(read_stored(path).pixels) > MAX_DISTINCT for path in masks):
        forms.append("nearest")
    for form in forms:
        reader = MaskReader(table, form)
        try:
            for path in masks:
                reader.read(path)
            return form
        except (DataError, LabelError):
            continue
    return "auto"
