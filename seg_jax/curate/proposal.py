"""A proposed configuration, and the fields that follow from splits and image sizes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median_low
from typing import Any

import numpy as np
from PIL import Image

from seg_jax.config import Size
from seg_jax.data import rasters
from seg_jax.data.decoder import DataError, NoImageError, opened
from seg_jax.data.images import ORIENTATION, fit_label
from seg_jax.data.labels import LabelTable

USED = 0.9  # share of the files below which something was probably not understood


@dataclass(frozen=True)
class Proposal:
    """A proposed configuration for a directory.

    Attributes:
      root: the directory.
      summary: a description of the data set, with the assumptions made.
      fields: the fields of the configuration that differ from the defaults.
      table: a label table to write beside the configuration; None if there is one already.
      files: number of image files that a search looked at, and how many of them are in pairs; (0, 0): not known.
      faults: what has to be corrected before the configuration is of use.
      pairs: split -> photographs and masks, for lists to write beside the configuration where patterns would also match
        files that are left out; '' is the split of a single list.
    """

    root: Path
    summary: str
    fields: Mapping[str, Any]
    table: LabelTable | None = None
    files: tuple[int, int] = (0, 0)
    faults: tuple[str, ...] = ()
    pairs: Mapping[str, Sequence[tuple[Path, Path]]] = field(default_factory=dict)


def unfit(proposal: Proposal, unreadable: int) -> list[str]:
    """What stands against a training with the proposal: its faults, and too few files that are used.

    Args:
      proposal: the proposal.
      unreadable: examples that its configuration cannot read.
    """
    total, paired = proposal.files
    used = max(0, paired - 2 * unreadable)
    few = [f"{used} of {total} image files are used, less than nine tenths"] if used < USED * total else []
    return [*proposal.faults, *few]


def split_fields(splits: Sequence[str]) -> dict[str, str]:
    """`data.train_split` and `data.val_split` for the splits of a data set; an only split serves as both."""
    train = first_split(splits, "train") or splits[0]
    val = first_split(splits, "val") or first_split(splits, "test") or next((s for s in splits if s != train), train)
    return {"data.train_split": train, "data.val_split": val}


def first_split(splits: Iterable[str], start: str) -> str:
    """The shortest name of a split that begins with `start`; '' if there is none."""
    return min((split for split in splits if split.lower().startswith(start)), key=len, default="")


def try_size(path: Path) -> Size | None:
    """`image_size`, or None for a file that cannot be read."""
    try:
        return image_size(path)
    except DataError:
        return None


def image_size(path: Path) -> Size:
    """(height, width) of a photograph as viewers show it, from its header alone.

    Raises:
      DataError: the file cannot be read.
    """
    with contextlib.suppress(NoImageError), opened(path) as image:
        # PNG's own `getexif` decodes the pixels, behind which EXIF may be, too.
        on_its_side = Image.Image.getexif(image).get(ORIENTATION, 1) >= 5
        return image.size if on_its_side else image.size[::-1]
    return rasters.size(path)


def resize_masks(sizes: Iterable[tuple[Path, Size | None, Size | None]]) -> tuple[dict[str, Any], str]:
    """`data.resize_masks` where some masks have another size than their photographs, and a note; only if that helps.

    Args:
      sizes: photographs, each with its (height, width) and that of its mask; None: not known.
    """
    differ = [(photo, one, other) for photo, one, other in sizes if one and other and one != other]
    if not differ or not all(fit_label(np.zeros(other, bool), one, 0).shape == one for _, one, other in differ):
        return {}, ""
    photo, one, other = differ[0]
    note = (
        f"{len(differ)} masks have another size than their photographs, such as {photo.name} of {one[0]}x{one[1]} with "
        f"a mask of {other[0]}x{other[1]} (height x width): they are brought to it"
    )
    return {"data.resize_masks": True}, note


def common_size(sizes: Sequence[Size]) -> Size:
    """The median size, at most 512 on the longer side, in multiples of 32."""
    height, width = (median_low(side) for side in zip(*sizes, strict=True))
    scale = min(1.0, 512 / max(height, width))
    return max(32, round(height * scale / 32) * 32), max(32, round(width * scale / 32) * 32)
