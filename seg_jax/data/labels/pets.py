"""Oxford-IIIT Pets (Parkhi et al. 2012), independent of the source: the meaning of trimaps, and the splits.

A trimap has 1 for the pet, 2 for the background and 3 for the ambiguous border between them.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from seg_jax.config import DataConfig, lookup, require
from seg_jax.data.labels import LabelTable
from seg_jax.data.sampler import held_out

_PET, _BACKGROUND, _BORDER = (220, 110, 30), (40, 60, 90), (250, 230, 120)

# Meaning of the border -> table. Of two classes the pet is 1, so its probability is that of the foreground.
TABLES: Mapping[str, LabelTable] = {
    "class": LabelTable(
        names=("pet", "background", "border"),
        colors=(_PET, _BACKGROUND, _BORDER),
        values=((1,), (2,), (3,)),
        ignore=(),
    ),
    "pet": LabelTable(("background", "pet"), (_BACKGROUND, _PET), values=((2,), (1, 3)), ignore=()),
    "background": LabelTable(("background", "pet"), (_BACKGROUND, _PET), values=((2, 3), (1,)), ignore=()),
    "ignore": LabelTable(("background", "pet"), (_BACKGROUND, _PET), values=((2,), (1,)), ignore=(3,)),
}

# Split -> the official list that it is part of.
LISTS: Mapping[str, str] = {"train": "trainval", "val": "trainval", "trainval": "trainval", "test": "test"}


def table(data: DataConfig) -> LabelTable:
    """The label table for `data.pets.border`.

    Raises:
      ConfigError: there is no such choice.
    """
    return lookup(TABLES, data.pets.border, "data.pets.border")


def rows(data: DataConfig, split: str, n: int, *, seed: int) -> np.ndarray:
    """The indices of a split in its official list of `n` names, int64, ascending.

    'val' is the share `data.pets.val_share` of trainval, sampled by `seed`, and 'train' is the rest.

    Raises:
      ConfigError: 'val' would be empty.
    """
    if split not in ("train", "val"):
        return np.arange(n)
    require(
        split == "train" or data.pets.val_share > 0,
        data,
        "data.pets.val_share",
        "the split 'val' is this share of trainval",
        "Use 0.1, or --config.data.val_split=test",
    )
    return np.flatnonzero(held_out(seed, n, data.pets.val_share) == (split == "val"))
