"""What the stored values of masks tell against a label table: (kind of finding, split, file, message) each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from seg_jax.curate import groups
from seg_jax.curate.tally import Tally, damage, described, total
from seg_jax.data.examples import Examples
from seg_jax.data.images import DataError
from seg_jax.data.labels import LabelTable
from seg_jax.data.prepared import is_prediction

MANY = 0.01  # share of ignored pixels beside which a class that occurs nowhere is suspicious

Message = tuple[str, str, str, str]


def of_tallies(table: LabelTable, tallies: Mapping[str, Sequence[Tally]]) -> Iterator[Message]:
    """Values that mean different things in different files, that are ignored wrongly, or that are damage.

    Args:
      table: the label table.
      tallies: split -> those of its masks, as `Examples.mask` gives them.
    """
    where = {one.name: split for split, part in tallies.items() for one in part}
    everything = [one for part in tallies.values() for one in part]
    values = [one for one in everything if not one.colors]
    if found := groups.palettes_differ(values):
        what = f"the palettes of this file and of {found[0]} show a value in different colours"
        cure = "give class_names.json the classes' colours and set config.data.mask_format='color'."
        yield "meaning", where[found[1]], found[1], f"{what}; {cure}"
    else:
        try:
            groups.refuse(values)
        except DataError as error:
            name = next((one.name for one in values if one.name in str(error)), "")
            yield "meaning", where.get(name, ""), name, str(error)
    yield from _ignored_alone(table, values, where)
    for part in (values, [one for one in everything if one.colors]):
        if part:
            yield from _blended(part, where)


def _ignored_alone(table: LabelTable, values: Sequence[Tally], where: Mapping[str, str]) -> Iterator[Message]:
    """Files in which an ignored value is the only one beside a class, unless it is beside several in most files."""
    classes = frozenset(value for stored in table.values for value in stored)
    only, among = groups.alone(values, frozenset(table.ignore), classes)
    if only and len(among) < 4 * len(only):
        here = next(one for one in values if one.name == only[0])
        other = next((one for one in values if len(one.values & classes) > 1), None)
        beside = f", while {other.name} has the values {_listed(other)}" if other else ""
        yield (
            "ignored alone",
            where[only[0]],
            only[0],
            f"the values are {_listed(here)}, of which {_listed(here, table.ignore)} is ignored, the only one beside a "
            f'class in {len(only)} files{beside}; if it means a class, move it to the "values" of that in '
            "class_names.json.",
        )


def _listed(one: Tally, among: Sequence[int] | None = None) -> str:
    values = sorted(one.values if among is None else one.values & set(among))
    return ", ".join(map(str, values[:6])) + (", ..." if len(values) > 6 else "")


def _blended(tallies: Sequence[Tally], where: Mapping[str, str]) -> Iterator[Message]:
    whole = total(tallies)
    blended = damage(whole)
    if blended.any():
        codes = set(whole.codes[blended].tolist())
        worst = max(tallies, key=lambda one: len(one.values & codes))
        share = whole.pixels[blended].sum() / whole.pixels.sum()
        yield (
            "blended",
            where[worst.name],
            worst.name,
            f"{described(whole, blended)} ({share:.2%} of the pixels) occur only between others: the masks were "
            "resized with interpolation, or antialiased; remove them from the label table and set "
            "config.data.mask_format='nearest', as python -m seg_jax.data inspect DIR proposes.",
        )


def hidden_classes(table: LabelTable, pixels: Mapping[str, np.ndarray]) -> list[str]:
    """Classes that no split has beside many ignored pixels, which may be theirs.

    Tables that name other ignored values than the usual one have said what these are, such as Cityscapes' own.

    Args:
      table: the label table.
      pixels: split -> number of pixels of each class, and last of ignored ones, int [k + 1].
    """
    counts = np.sum(list(pixels.values()), axis=0)
    missing = [name for i, name in enumerate(table.names) if not counts[i]]
    share = counts[-1] / max(counts.sum(), 1)
    return missing if share >= MANY and table.ignore == (table.ignored,) else []


def hidden_message(table: LabelTable, missing: Sequence[str], pixels: Mapping[str, np.ndarray]) -> str:
    """What is wrong about `hidden_classes`, and the cure."""
    counts = np.sum(list(pixels.values()), axis=0)
    return (
        f"no split has a pixel of {', '.join(map(repr, missing))}, while {counts[-1] / counts.sum():.1%} of the "
        f'pixels are ignored ({table.ignored}); if the ignored value means a class, move it to the "values" of that in '
        "class_names.json, otherwise leave the class out (config.data.ignore_classes)."
    )


def predictions(examples: Examples) -> str:
    """What is wrong with labels that a network has predicted, '' if none are known to be."""
    found = [paths[-1] for paths in examples.files if len(paths) == 2 and is_prediction(paths[-1])]
    if not found:
        return ""
    return (
        f"{len(found)} masks, such as {found[0].name}, were written by python -m seg_jax.predict: a network that "
        "learns from them repeats the mistakes of another, and a score on them says nothing; correct them and save "
        "them elsewhere, or leave them out."
    )


def of_splits(splits: Sequence[Examples], pixels: Mapping[str, np.ndarray]) -> Iterator[Message]:
    """`hidden_classes` and `predictions` as findings."""
    for examples in splits:
        if what := predictions(examples):
            yield "predictions", examples.split, examples.split, what
    table = splits[0].table
    if missing := hidden_classes(table, pixels):
        yield "class ignored", splits[0].split, splits[0].split, hidden_message(table, missing, pixels)
