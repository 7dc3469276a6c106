"""Binary masks of one class each, `NAME_CLASS.png` or `CLASS/NAME.png`, for photographs called `NAME`.

Such files may also be the masks of several annotators, or of single objects. They are classes if that is certain: names
that recur and are words, masks of two values, and next to no pixel in two masks of one photograph. Otherwise this
layout is not recognised, and whoever proposes a configuration asks.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from seg_jax.data.decoder import opened
from seg_jax.data.images import DataError, read_stored
from seg_jax.data.label_tools import tags
from seg_jax.data.label_tools.photographs import Photographs, split_of
from seg_jax.data.label_tools.scene import Annotations, Scene, Thing, named
from seg_jax.data.sampler import spread

MOST_FOLDERS = 64  # with more there is one for each photograph
SAMPLED = 4  # files of a directory, and masks of a class
COMPARED = 8  # photographs whose masks are laid upon one another
OVERLAP = 4, 0.1  # pixels, or share of the smaller mask, that may be in two of them: outlines touch
# Parts of names that say what a file is, or whose it is, and not what it shows.
NO_CLASSES = re.compile(
    r"(gt|ground|truth|mask|masks|label|labels|seg|segmentation|annot|annotation|manual|expert|rater|reader|observer|"
    r"overlay|color|colour|pred|prediction|instance|instances|train|val|valid|validation|test|image|images|photo)s?"
)


def recognize(photographs: Photographs) -> list[Path]:
    """The masks, if it is certain that each is of one class."""
    layers = _layers(photographs)
    words = {word for masks in layers.values() for word in masks}
    if not _are_classes(words, layers.values()):
        return []
    by_word = {word: [masks[word] for masks in layers.values() if word in masks] for word in words}
    samples = [paths[i] for paths in by_word.values() for i in spread(len(paths), SAMPLED)]
    several = [list(masks.values()) for masks in layers.values() if len(masks) > 1]
    if not all(map(_is_binary, samples)) or not all(_apart(several[i]) for i in spread(len(several), COMPARED)):
        return []
    return sorted(path for masks in layers.values() for path in masks.values())


def read(photographs: Photographs, files: list[Path]) -> Annotations:
    """The masks of each photograph as its objects, in the alphabetical order of the classes."""
    scenes: dict[str, list[Scene]] = {}
    for photo, masks in sorted(_layers(photographs).items()):
        things = [Thing(word, partial(tags.draw, path), path.name) for word, path in sorted(masks.items())]
        split = split_of(photographs.root, photo)
        first = min(masks.values())
        scenes.setdefault(split, []).append(Scene(photo, first, tags.mask_size(first), things))
    return Annotations(named(scenes), scenes, files=tuple(files))


def _layers(photographs: Photographs) -> Mapping[Path, dict[str, Path]]:
    """Photograph -> word -> mask; {} if any file is neither a photograph nor the only mask of a word."""
    folders: dict[Path, list[Path]] = {}
    for path in photographs.images:
        folders.setdefault(path.parent, []).append(path)
    if len(folders) > MOST_FOLDERS:
        return {}
    photos: dict[str, Path] = {}
    masks: list[Path] = []
    for paths in folders.values():
        binary = [_is_binary(paths[i]) for i in spread(len(paths), SAMPLED)]
        stems = {path.stem for path in paths}
        for path in paths:
            behind = any(prefix in stems for prefix, _ in _divisions(path.stem))
            if all(binary) or (any(binary) and behind):
                masks.append(path)
            elif path.stem in photos:
                return {}
            else:
                photos[path.stem] = path
    in_folders = all(mask.stem in photos for mask in masks)
    found: dict[Path, dict[str, Path]] = {}
    for mask in masks:
        pairs = [(mask.stem, mask.parent.name)] if in_folders else _divisions(mask.stem)
        stem, word = next(((stem, word) for stem, word in pairs if stem in photos), ("", ""))
        if not stem or word in found.setdefault(photos[stem], {}):
            return {}
        found[photos[stem]][word] = mask
    return found


def _divisions(stem: str) -> list[tuple[str, str]]:
    """(beginning, rest) of a name at each separator, the longest beginning first."""
    places = [match.span() for match in re.finditer(r"[_\-. ]+", stem)]
    return [(stem[:begin], stem[end:]) for begin, end in reversed(places) if begin and end < len(stem)]


def _are_classes(words: set[str], layers: Iterable[dict[str, Path]]) -> bool:
    """Whether words are names that recur, and tell masks of one photograph apart."""
    masks = list(layers)
    plain = {re.sub(r"[\d_\-. ]", "", word).lower() for word in words}
    parts = {part.lower() for word in words for part in re.split(r"[_\-. ]+", word)}
    return (
        len(words) > 1
        and len(plain) == len(words)  # not object_1, object_2
        and all(re.search(r"[^\W\d_]{2}", word) for word in words)
        and not any(NO_CLASSES.fullmatch(part) for part in parts)
        and all(sum(word in found for found in masks) > 1 for word in words)
        and 2 * sum(len(found) > 1 for found in masks) >= len(masks)
    )


def _mask(path: Path) -> np.ndarray | None:
    """The pixels of a binary mask, bool [h w]; None for any other file."""
    try:
        with opened(path) as image:  # of photographs the header tells enough
            if image.mode not in ("1", "L", "P"):
                return None
        stored = read_stored(path)
    except DataError:
        return None
    pixels = stored.pixels
    if pixels.ndim != 2 or stored.alpha is not None:
        return None
    return pixels > 0 if len(np.unique(pixels[pixels > 0])) < 2 else None


def _is_binary(path: Path) -> bool:
    return _mask(path) is not None


def _apart(paths: list[Path]) -> bool:
    """Whether masks of one photograph have next to no pixel in common."""
    masks = [mask for mask in map(_mask, paths) if mask is not None]
    if len(masks) < len(paths) or len({mask.shape for mask in masks}) > 1:
        return False
    return all(
        np.count_nonzero(one & other) <= max(OVERLAP[0], OVERLAP[1] * min(one.sum(), other.sum()))
        for one, other in itertools.combinations(masks, 2)
    )
