"""The values or colours in all masks of a data set, and groups of masks that disagree about their meaning."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from seg_jax.curate.tally import Tally, tally, total
from seg_jax.data.checking import in_parallel
from seg_jax.data.images import DataError, read_stored
from seg_jax.data.labels import IGNORE
from seg_jax.data.sampler import spread

MAX_SAMPLED = 24  # masks of a sample
SHIFTED = 0.3  # sum of differences between the shares of classes below which one group's values are another's plus one


@dataclass(frozen=True)
class Values:
    """The values or colours in some masks.

    Attributes:
      tallies: those of each mask that can be decoded, all of one kind.
      whole: their sum.
    """

    tallies: tuple[Tally, ...]
    whole: Tally

    @property
    def colors(self) -> bool:
        """Whether they are colours rather than values."""
        return self.whole.colors

    @property
    def sample(self) -> list[Tally]:
        """Those of at most `MAX_SAMPLED` masks, evenly spread."""
        return [self.tallies[i] for i in spread(len(self.tallies), MAX_SAMPLED)]

    @property
    def codes(self) -> list[int]:
        """Every value or colour, ascending."""
        return self.whole.codes.tolist()


def survey(masks: Sequence[Path], *, threads: int = 4) -> Values:
    """Decodes all masks, skipping those that cannot be decoded.

    Raises:
      DataError: none can be decoded, some contain values and others colours, or the same values mean different things.
    """

    def read(i: int) -> Tally | DataError:
        try:
            return tally(str(masks[i]), read_stored(masks[i]))
        except DataError as error:
            return error

    tallies: list[Tally] = []
    unread: DataError | None = None
    with closing(in_parallel(read, len(masks), threads=threads, title="reading masks")) as results:
        for result in results:
            if isinstance(result, DataError):
                unread = result
            else:
                tallies.append(result)
    if not tallies:
        raise DataError(f"no mask can be decoded: {unread}")
    tallies = of_one_kind(tallies)
    return Values(tuple(tallies), total(tallies))


def of_one_kind(tallies: Sequence[Tally]) -> list[Tally]:
    """The tallies, all as values or all as colours; colours with equal channels are values where others are.

    Raises:
      DataError: naming two files that disagree.
    """
    alike = list(tallies)
    if any(not one.colors for one in alike):
        alike = [replace(one, colors=False, codes=one.codes & 255) if one.grey else one for one in alike]
    values, colors = ([one for one in alike if one.colors == kind] for kind in (False, True))
    if values and colors:
        raise DataError(
            f"{values[0].name} contains values and {colors[0].name} colours. Convert the masks to one form, or write "
            "class_names.json with both and a configuration by hand."
        )
    alphas, others = ([one for one in alike if one.in_alpha == kind] for kind in (True, False))
    varied = [one for one in others if len(one.codes) > 1]
    if alphas and varied:
        raise DataError(
            f"the content of {alphas[0].name} is in its alpha channel alone, that of {varied[0].name} in its colours "
            "or values. Convert the masks to one form."
        )
    return alike


def palettes_differ(tallies: Sequence[Tally]) -> tuple[str, str] | None:
    """Two files whose palettes show the same value in two colours; None if there are none."""
    first: dict[int, tuple[tuple[int, int, int], str]] = {}
    for one in tallies:
        for value, color in one.palette.items():
            known, name = first.setdefault(value, (color, one.name))
            if known != color:
                return name, one.name
    return None


def with_and_without_palette(tallies: Sequence[Tally]) -> tuple[str, str] | None:
    """A file of plain values and one whose palette has colours, in which a value may mean something else."""
    plain = [one.name for one in tallies if not one.colors and not one.palette and one.values - {0, IGNORE}]
    colored = [one.name for one in tallies if one.colored]
    return (plain[0], colored[0]) if plain and colored else None


def shifted(tallies: Sequence[Tally]) -> tuple[str, str] | None:
    """Two files of which one counts its classes from the least value, the other from the next one.

    The groups have the same number of classes, and the shares of these fit better with the values shifted by one than
    as they are.
    """
    values = [(one, sorted(one.values - {IGNORE})) for one in tallies if not one.colors]
    everything = sorted(set().union(*(found for _, found in values)))
    if len(everything) < 3 or everything != list(range(everything[0], everything[-1] + 1)):
        return None
    low = [one for one, found in values if found and everything[0] in found]
    high = [one for one, found in values if found and everything[-1] in found]
    if len(low) < 2 or len(high) < 2 or {one.name for one in low} & {one.name for one in high}:
        return None
    size = everything[-1] + 1
    one, other = (_shares(group, size) for group in (low, high))
    if np.abs(one[:-1] - other[1:]).sum() < min(SHIFTED, np.abs(one - other).sum() / 2):
        return low[0].name, high[0].name
    return None


def rescaled(tallies: Sequence[Tally]) -> tuple[str, str] | None:
    """Two files that share no value but 0, of groups with the same number of classes in about the same shares.

    255 may be one of these values, or ignored in both groups.
    """
    for common in (frozenset({0}), frozenset({0, IGNORE})):
        for (values, first), (others, second) in pairwise(_linked(tallies, common)):
            if len(values) == len(others) > 1:
                one = _shares(first, max(values) + 1)[[0, *sorted(values)]]
                if np.abs(one - _shares(second, max(others) + 1)[[0, *sorted(others)]]).sum() < SHIFTED:
                    return first[0].name, second[0].name
    return None


def _linked(tallies: Sequence[Tally], common: frozenset[int]) -> list[tuple[frozenset[int], list[Tally]]]:
    """Groups of files, with their values: files of one group share values other than `common`, directly or not."""
    parts: list[tuple[frozenset[int], list[Tally]]] = []
    for one in tallies:
        if not one.colors and (found := one.values - common):
            linked = [part for part in parts if part[0] & found]
            parts = [part for part in parts if part not in linked]
            members = [member for part in linked for member in part[1]]
            parts.append((found.union(*(part[0] for part in linked)), [*members, one]))
    return parts


def _shares(tallies: Sequence[Tally], size: int) -> np.ndarray:
    """The share of the pixels of each value, [size]; larger values do not count."""
    whole = total(tallies)
    shares = np.zeros(size)
    counted = whole.codes < size
    shares[whole.codes[counted]] = whole.pixels[counted]
    return shares / shares.sum()


def alone(tallies: Sequence[Tally], ignored: frozenset[int], classes: frozenset[int]) -> tuple[list[str], list[str]]:
    """Files in which an ignored value is the only one beside one class, and files in which it is beside several."""
    only: list[str] = []
    among: list[str] = []
    for one in tallies:
        if one.values & ignored and (others := one.values & classes - ignored):
            (only if len(others) == 1 else among).append(one.name)
    return only, among


def refuse(tallies: Sequence[Tally]) -> None:
    """Refuses masks in which a value has several meanings.

    Raises:
      DataError: naming two files that disagree, and the cure.
    """
    if found := with_and_without_palette(tallies):
        raise DataError(
            f"{found[0]} contains values without a palette and {found[1]} a palette of colours: whether a value means "
            "the same in both cannot be told. Where it does, write the palette files as plain values too: "
            "Image.fromarray(np.asarray(image)).save(path). Otherwise convert one kind to the values of the other."
        )
    if found := shifted(tallies):
        raise DataError(
            f"{found[0]} and {found[1]} count their classes from different values: the shares of the classes agree "
            "once the values are shifted by one. Subtract 1 from the masks of the second kind."
        )
    if found := rescaled(tallies):
        raise DataError(
            f"{found[0]} and {found[1]} have the same number of classes in about the same shares, but no value in "
            "common besides 0. Write the masks of one kind with the values of the other."
        )
