"""Synthetic street scenes as a data source: see `seg_jax.data.scenes`."""

from __future__ import annotations

from seg_jax.config import DataConfig, lookup, require
from seg_jax.data.examples import Examples
from seg_jax.data.labels import LabelTable
from seg_jax.data.scenes.street import COLORS, MIN_SIZE, NAMES, scene

SIZE = (96, 128)  # (height, width) where the configuration names none


def load(data: DataConfig, split: str, *, seed: int) -> Examples:
    """Scenes drawn at `data.size`, or `SIZE` if that is not set: `data.synthetic.train_scenes` to learn from, and
    `val_scenes` others to evaluate on.

    Raises:
      ConfigError: `split` is neither `data.train_split` nor `data.val_split`, or `data.size` is too small.
    """
    size = data.size if all(data.size) else SIZE
    require(
        min(size) >= MIN_SIZE,
        data,
        "data.size",
        f"synthetic scenes are drawn at this (height, width), each at least {MIN_SIZE}",
        "Use (96, 128)",
    )
    counts = {data.train_split: data.synthetic.train_scenes, data.val_split: data.synthetic.val_scenes}
    count = lookup(counts, split, "data.val_split")
    # Even scenes train, odd ones validate, so that neither number changes the other's pictures.
    offset = 0 if split == data.train_split else 1
    return Examples(
        split=split,
        names=tuple(f"scene {2 * i + offset} of seed {seed}" for i in range(count)),
        read=lambda i: scene(seed, 2 * i + offset, size),
        table=LabelTable(names=NAMES, colors=COLORS),
    )
