"""Synthetic street scenes as a data source: see `seg_jax.data.scenes`."""

from __future__ import annotations

from seg_jax.config import DataConfig, lookup, require
from seg_jax.data.examples import Examples
from seg_jax.data.labels import LabelTable
from seg_jax.data.scenes.palettes import COLORS, NAMES
from seg_jax.data.scenes.street import MIN_SIZE, scene

SIZE = (96, 128)  # (height, width) where the configuration names none


def load(data: DataConfig, split: str, *, seed: int) -> Examples:
    """Scenes rendered at `data.size`, or `SIZE` if that is not set.

    There are `data.synthetic.train_scenes` for training and `data.synthetic.val_scenes` different ones for validation.

    Raises:
      ConfigError: `split` is neither `data.train_split` nor `data.val_split`, or `data.size` is too small.
    """
    size = data.size if all(data.size) else SIZE
    require(
        min(size) >= MIN_SIZE,
        data,
        "data.size",
        f"synthetic scenes are rendered at this (height, width), each at least {MIN_SIZE}",
        "Use (96, 128)",
    )
    counts = {data.train_split: data.synthetic.train_scenes, data.val_split: data.synthetic.val_scenes}
    count = lookup(counts, split, "data.val_split")
    # Even scenes are for training, odd ones for validation, so that neither number changes the other split.
    offset = 0 if split == data.train_split else 1
    return Examples(
        split=split,
        names=tuple(f"scene {2 * i + offset} of seed {seed}" for i in range(count)),
        read=lambda i: scene(seed, 2 * i + offset, size),
        table=LabelTable(names=NAMES, colors=COLORS),
    )
