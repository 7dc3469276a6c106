"""Photographs and masks of a directory by pixels and by names; single files that are of another kind than the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from PIL import Image

from seg_jax.curate import kinds
from seg_jax.curate.file_kinds import MASK, OTHER, PHOTO, Kind, by_marks, by_name
from seg_jax.data.checking import in_parallel
from seg_jax.data.images import DataError
from seg_jax.data.sampler import spread

MAJORITY = 0.75  # share of the files from which on the others are odd ones
MAX_NAMED = 30  # files of one name that are decoded
MAX_LOOKED_AT = 2000  # masks that are decoded in search of odd ones


def tell_apart(root: Path, files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """(photographs, masks) among image files: as `kinds.tell_apart`, where names of directories do not say otherwise.

    Photographs of low contrast have as few values as masks, and a few photographs among masks make a directory unclear.
    """
    folders: dict[Path, list[Path]] = {}
    for path in files:
        folders.setdefault(path.parent, []).append(path)
    photos: set[Path] = set()
    masks: set[Path] = set()
    named_alike = by_name(root, files)
    for alike in named_alike.values():
        sample = [alike[i] for i in spread(len(alike), MAX_NAMED)]
        found = sum(_is_mask(path) for path in sample)
        (masks if 2 * found > len(sample) else photos).update(alike)
    rest = [path for path in files if path.name not in named_alike]
    for alike in by_marks(rest).values():
        for both, told in zip((photos, masks), kinds.tell_apart(root, alike), strict=True):
            both.update(told)
    named = {folder: Kind(folder.relative_to(root).as_posix(), {}, False) for folder in folders}
    for folder, paths in folders.items():
        if not named[folder].has(MASK, OTHER) or named[folder].has(PHOTO):
            continue
        here = [path for path in paths if path in masks]
        if here and 2 * len(here) >= len(paths):  # the majority decides
            masks.update(paths)
            photos.difference_update(paths)
    for folder, paths in folders.items():
        elsewhere = any(path.parent != folder and not named[path.parent].has(PHOTO) for path in masks)
        if named[folder].has(PHOTO) and not named[folder].has(MASK, OTHER) and elsewhere and masks.issuperset(paths):
            photos.update(paths)
            masks.difference_update(paths)
    return sorted(photos), sorted(masks)


def odd_photographs(photos: Sequence[Path]) -> dict[Path, str]:
    """The masks among photographs in colour -> what they are."""
    forms = {path: form for path in photos if (form := _form(path))}
    single = [path for path, form in forms.items() if form == "values"]
    if len(single) > (1 - MAJORITY) * len(forms):
        return {}
    return {path: "looks like a mask, the other photographs are in colour" for path in single if _is_mask(path)}


def odd_masks(masks: Sequence[Path]) -> dict[Path, str]:
    """The masks that are of another kind than nearly all others -> what they are; those that cannot be read are not."""
    forms = {path: form for path in masks if (form := _form(path))}
    if not forms:
        return {}
    (usual, count), *_ = Counter(forms.values()).most_common()
    odd: dict[Path, str] = {}
    if count >= MAJORITY * len(forms):
        odd = {
            path: f"contains {form}, the other masks contain {usual}" for path, form in forms.items() if form != usual
        }
    rest = [path for path in forms if path not in odd][:MAX_LOOKED_AT]
    with closing(in_parallel(lambda i: _is_mask(rest[i]), len(rest), threads=4, title="looking at masks")) as results:
        looks = dict(zip(rest, results, strict=True))
    if sum(looks.values()) >= MAJORITY * len(looks):
        odd |= {path: "looks like a photograph" for path, mask in looks.items() if not mask}
    return odd


def _form(path: Path) -> str:
    try:
        with Image.open(path) as image:
            return "values" if len(image.getbands()) == 1 else "colours"
    except Exception:  # decoders raise errors of many kinds
        return ""


def _is_mask(path: Path) -> bool:
    try:
        return kinds.is_mask(path)
    except DataError:
        return True  # whoever reads it says what is wrong with it
