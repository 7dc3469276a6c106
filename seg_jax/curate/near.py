"""Photographs that are nearly those of another split: frames of one video, copies that were saved, scaled or lit again.

Two photographs are compared by their colours at `SIDE` x `SIDE` pixels. Correlation ignores brightness and contrast.
What is near depends on the data: chest X-rays all resemble one another, so a pair must also be far nearer than pairs
usually are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from seg_jax.config import DataConfig
from seg_jax.data.examples import Examples
from seg_jax.data.images import pictured
from seg_jax.data.sampler import spread
from seg_jax.data.splits import groups

SIDE = 16
CORRELATION = 0.99  # of a near pair, at least
SURE = 0.998  # the same where there are too few photographs to know what is usual
NEARER = 0.12  # distance of a near pair in units of the median distance, at most
ENOUGH = 12  # photographs from which on the median says what is usual
SAMPLED = 300  # photographs whose distances are looked at for that
BLOCK = 512  # photographs that are compared with all others at once


class Small(NamedTuple):
    """A photograph at `SIDE` x `SIDE` pixels.

    Attributes:
      split, file: where it comes from.
      digest: of all of its pixels; equal ones are copies, which are found without this.
      pixels: uint8 [SIDE SIDE 3].
    """

    split: str
    file: str
    digest: bytes
    pixels: np.ndarray


class Pair(NamedTuple):
    """A photograph, the near one of an earlier split, their correlation, and whether one of them is mirrored."""

    one: Small
    other: Small
    correlation: float
    mirrored: bool


def reduced(image: np.ndarray) -> np.ndarray:
    """A photograph [h w c] as a picture of `SIDE` x `SIDE` pixels, uint8 [SIDE SIDE 3]."""
    return np.asarray(Image.fromarray(pictured(image)).resize((SIDE, SIDE), Image.Resampling.BOX))


def pairs(photos: Sequence[Small]) -> Iterator[Pair]:
    """For every photograph that is near to one of an earlier split, the nearest one.

    Args:
      photos: of all splits, in their order.
    """
    splits = list(dict.fromkeys(photo.split for photo in photos))
    rows = np.stack([photo.pixels for photo in photos]) if photos else np.zeros((0, SIDE, SIDE, 3), np.uint8)
    least = _least_correlation(rows)
    for number, split in enumerate(splits[1:], start=1):
        here = [i for i, photo in enumerate(photos) if photo.split == split]
        earlier = [i for i, photo in enumerate(photos) if photo.split in splits[:number]]
        theirs = _standard(rows[earlier])
        for start in range(0, len(here), BLOCK):
            block = here[start : start + BLOCK]
            straight, turned = (_standard(rows[block][:, :, ::step]) @ theirs.T for step in (1, -1))
            for i, row, mirror in zip(block, straight, turned, strict=True):
                mirrored = bool(mirror.max() > row.max())
                nearest = int((mirror if mirrored else row).argmax())
                correlation, other = float(max(row.max(), mirror.max())), photos[earlier[nearest]]
                if correlation >= least and other.digest != photos[i].digest:
                    yield Pair(photos[i], other, correlation, mirrored)


def shared_groups(splits: Sequence[Examples], data: DataConfig) -> Iterator[tuple[str, str, str]]:
    """(split, file, what is wrong) for the groups of `data.group` that an earlier split has too."""
    first: dict[str, str] = {}
    for examples in splits:
        told: set[str] = set()
        for i, group in enumerate(groups(examples, data)):
            other = first.setdefault(group, examples.split)
            if other != examples.split and group not in told:
                told.add(group)
                file = str(examples.files[i][0]) if examples.files else examples.names[i]
                yield examples.split, file, f"the group {group!r} of data.group is in the split {other!r}, too"


def _least_correlation(rows: np.ndarray) -> float:
    """The correlation from which on two photographs are near."""
    if len(rows) < ENOUGH:
        return SURE
    sample = _standard(rows[spread(len(rows), SAMPLED)])
    usual = np.median((sample @ sample.T)[np.triu_indices(len(sample), k=1)])
    # The squared distance of standardised photographs is proportional to 1 - correlation.
    return max(CORRELATION, 1 - NEARER**2 * (1 - float(usual)))


def _standard(rows: np.ndarray) -> np.ndarray:
    """Photographs as vectors of mean 0 and length 1, float32 [n SIDE*SIDE*3]; 0 for those of one colour."""
    flat = rows.reshape(len(rows), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.where(length > SIDE * SIDE * 3 * 0.01, flat / np.maximum(length, 1e-6), 0)
