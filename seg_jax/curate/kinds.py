"""Photograph or mask? Told from pixels, and where these are ambiguous from file names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seg_jax.curate.tally import color_codes, tally
from seg_jax.data import rasters
from seg_jax.data.images import DataError, Stored, read_stored
from seg_jax.data.sampler import spread

MAX_DISTINCT = 64  # values or colours in a mask; a photograph has more
AREAS, AREA = 0.5, 0.02  # least share of the pixels inside areas, of all and of two colours, in a blurred mask
MAX_PIXELS = 1 << 18  # pixels of damaged masks that are compared with colours
MAX_DECODED = 120  # files decoded to tell photographs from masks


def is_mask(path: Path) -> bool:
    """Whether a file looks like a mask: few values or colours, or the blur of JPEG or resizing around few colours.

    Raises:
      DataError: it cannot be read.
    """
    try:
        stored = read_stored(path, pages=True)  # which reading the data refuses, with the reason
    except DataError:
        return _has_few_numbers(path)
    return distinct(stored.pixels) <= MAX_DISTINCT or peaks([stored.pixels]) is not None or _has_areas(stored)


def _has_few_numbers(path: Path) -> bool:
    """Whether an image that no mask can be, such as one of floating-point numbers, looks like a mask.

    It is taken for one, so that whoever reads the masks says what is wrong with it.

    Raises:
      DataError: it cannot be read.
    """
    content = rasters.read(path)
    pixels = np.asarray(content.picture) if isinstance(content, rasters.Plain) else content.pixels
    return (pixels.ndim == 2 or pixels.shape[-1] == 1) and len(np.unique(pixels)) <= MAX_DISTINCT


def _has_areas(stored: Stored) -> bool:
    """Whether most of an image is areas of exactly one colour, of two colours at least, which noise forbids in a
    photograph: one alone may be overexposed, or what is around a scan.
    """
    counted = tally("", stored)
    share = counted.inside / counted.pixels.sum()
    return bool(share.sum() > AREAS and (share > AREA).sum() >= 2)


def is_lossy(path: Path) -> bool:
    """Whether a file is JPEG, whatever its name."""
    with path.open("rb") as file:
        return file.read(2) == b"\xff\xd8"


def distinct(pixels: np.ndarray) -> int:
    """The number of different values [h w] or colours [h w 3]."""
    return len(np.unique(color_codes(pixels)))


def peaks(masks: Iterable[np.ndarray]) -> list[tuple[int, int, int]] | None:
    """The few colours around which the pixels of damaged masks scatter, most frequent first; None if there are none.

    Args:
      masks: values uint8 [h w], read as grey, or colours uint8 [h w 3].
    """
    parts = [np.repeat(m[..., None], 3, -1) if m.ndim == 2 else m for m in masks if m.dtype == np.uint8]
    empty = np.zeros((0, 3), np.uint8)
    pixels = np.concatenate([part.reshape(-1, 3) for part in parts] or [empty])
    pixels = pixels[:: max(1, len(pixels) // MAX_PIXELS)].astype(np.int32)
    flat = [color_codes(part)[_is_flat(part)] for part in parts] or [np.zeros(0, np.int32)]
    codes, counts = np.unique(np.concatenate(flat), return_counts=True)
    frequent = counts >= 0.005 * counts.sum()
    colors: list[tuple[int, int, int]] = []
    order = np.argsort(-counts[frequent], kind="stable")
    for code, count in zip(codes[frequent][order].tolist(), counts[frequent][order].tolist(), strict=True):
        color = code >> 16, code >> 8 & 255, code & 255
        apart = 40 if count < 0.02 * counts.sum() else 12  # what JPEG leaves of an area is closer than another area
        if all(max(abs(a - b) for a, b in zip(color, other, strict=True)) > apart for other in colors):
            colors.append(color)
    if not 2 <= len(colors) <= MAX_DISTINCT:
        return None
    nearest = np.min([np.square(pixels - color).sum(-1) for color in colors], axis=0)
    return colors if np.sqrt(nearest).mean() < 8 else None


def _is_flat(pixels: np.ndarray) -> np.ndarray:
    """Whether a pixel's colour is close to its neighbours', which is false along borders; bool [h w]."""
    flat = np.ones(pixels.shape[:2], bool)
    for axis in (0, 1):
        near = np.abs(np.diff(pixels.astype(np.int16), axis=axis)).max(axis=-1) <= 16
        first, last = [(0, 0), (0, 0)], [(0, 0), (0, 0)]
        first[axis], last[axis] = (1, 0), (0, 1)
        flat &= np.pad(near, first, constant_values=True) & np.pad(near, last, constant_values=True)
    return flat


def tell_apart(root: Path, files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """(photographs, masks) among image files, decided from a sample of each directory and extension."""
    groups: dict[tuple[Path, str], list[Path]] = {}
    for path in files:
        groups.setdefault((path.parent, path.suffix.lower()), []).append(path)
    photos: list[Path] = []
    masks: list[Path] = []
    for group in groups.values():
        count = max(3, min(12, MAX_DECODED // len(groups)))
        sample = dict.fromkeys([*group[:count], *(group[i] for i in spread(len(group), 4))])
        decided = {path: verdict for path in sample if (verdict := _is_mask(path)) is not None}
        share = sum(decided.values()) / max(len(decided), 1)
        if share >= 0.8 or share <= 0.2:
            (masks if share >= 0.8 else photos).extend(group)
            continue
        mark = _mark([p.stem for p in decided if decided[p]], [p.stem for p in decided if not decided[p]])
        for path in group:
            (masks if mark is not None and mark.search(path.stem) else photos).append(path)
    return sorted(photos), sorted(masks)


def _is_mask(path: Path) -> bool | None:
    try:
        return is_mask(path)
    except DataError:
        return None


def _mark(masks: Sequence[str], photos: Sequence[str]) -> re.Pattern | None:
    """A suffix or prefix that the names of masks have and those of photographs do not; None if there is none."""
    end, begin = common_prefix([name[::-1] for name in masks])[::-1], common_prefix(masks)
    ends = [end[i:] for i in range(len(end))]
    begins = [begin[: i + 1] for i in range(len(begin))]
    # Prefer one that is separated from the rest of the name: '_mask' rather than '1_mask'.
    for text in sorted(ends, key=lambda text: (not re.match(r"[^A-Za-z0-9][A-Za-z]", text), -len(text))):
        if not any(name.endswith(text) for name in photos):
            return re.compile(re.escape(text) + "$")
    for text in sorted(begins, key=lambda text: (not re.match(r".*[A-Za-z][^A-Za-z0-9]$", text), -len(text))):
        if not any(name.startswith(text) for name in photos):
            return re.compile("^" + re.escape(text))
    return None


def common_prefix(sequences: Sequence[Any]) -> Any:
    """The longest common prefix of strings or tuples."""
    differing = (i for i, items in enumerate(zip(*sequences, strict=False)) if len(set(items)) > 1)
    return sequences[0][: next(differing, min(map(len, sequences)))]
