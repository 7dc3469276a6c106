"""Several masks for one photograph, each with one object, as data sets of nuclei, cells and instances have them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from seg_jax.curate.kinds import distinct
from seg_jax.data.images import DataError, read_stored

NUMBERED = re.compile(r"(.+?)[_.-]?(?:(?:obj|object|inst|instance|mask)[_-]?)?\d+")


def refuse(root: Path, photos: Sequence[Path], masks: Sequence[Path]) -> None:
    """Refuses a data set in which most photographs have several masks of single objects.

    One of them alone would be a label that calls all other objects background.

    Raises:
      DataError: naming a photograph with its masks, and how to unite them.
    """
    for groups in (_by_directory(photos, masks), _by_name(photos, masks)):
        several = {photo: found for photo, found in groups.items() if len(found) > 1}
        if len(several) > 1 and 2 * len(several) >= len(photos) and all(map(_is_object, next(iter(several.values())))):
            photo, found = next(iter(several.items()))
            raise DataError(
                f"{photo.relative_to(root)} has {len(found)} masks, {found[0].relative_to(root)} ... {found[-1].name}, "
                "each of one object: one alone would call the others background. Unite those of each photograph, and "
                "save the result under the photograph's name in a directory of its own: "
                "np.maximum.reduce([np.asarray(Image.open(path)) for path in masks])."
            )


def _by_directory(photos: Sequence[Path], masks: Sequence[Path]) -> Mapping[Path, list[Path]]:
    """The masks below the directory of each photograph, or the one above, which has no other photograph."""
    for up in (0, 1):
        places = {photo: photo.parents[up] for photo in photos}
        if len(set(places.values())) < len(photos):
            continue
        groups = {photo: [mask for mask in masks if place in mask.parents] for photo, place in places.items()}
        names = [{mask.stem for mask in found} for found in groups.values() if found]
        # Files of different kinds, such as instances and classes, have the same names everywhere.
        if names and (not set.intersection(*names) or all(name.isdecimal() for name in set.union(*names))):
            return groups
    return {}


def _by_name(photos: Sequence[Path], masks: Sequence[Path]) -> Mapping[Path, list[Path]]:
    """The masks with the name of each photograph and a number behind it, or in a directory of the photograph's name."""
    by_stem = {photo.stem: photo for photo in photos}
    groups: dict[Path, list[Path]] = {}
    for mask in masks:
        match = NUMBERED.fullmatch(mask.stem)
        stem = match[1] if match and mask.stem not in by_stem else mask.parent.name
        if stem in by_stem:
            groups.setdefault(by_stem[stem], []).append(mask)
    return groups


def _is_object(path: Path) -> bool:
    try:
        return distinct(read_stored(path).pixels) <= 2
    except DataError:
        return False
