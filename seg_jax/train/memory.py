"""What a training step may be changed to so that it fits into the memory of a device."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from seg_jax.augment import placing
from seg_jax.config import Config, Size, with_fields
from seg_jax.run.cost import peak_memory
from seg_jax.run.program import Functions
from seg_jax.runtime import sharding

SMALLEST = 64  # pixels; crops are not proposed below


def fit_memory(
    functions: Functions, *, size: Size, limit: float, several_sizes: bool = False
) -> tuple[dict[str, Any], float] | None:
    """The mildest change with which the training step needs at most `limit` bytes on each device.

    Args:
      functions: the run's functions.
      size: (height, width) of its images.
      limit: in bytes.
      several_sizes: whether photographs have different sizes, so that images are the parts that crops show.

    Returns:
      ({'train.accumulate': 2, ...}: fields to change, none if it fits as it is; bytes that it then needs by XLA's
      analysis of the compiled step), or None if nothing that is tried fits.
    """
    for fields in changes(functions.config, devices=sharding.batch_parts(functions.mesh), size=size):
        config = with_fields(functions.config, fields)
        placed = placing.needed(config.augment, several_sizes=several_sizes)
        seen = placing.part_size(config.augment) if placed else size
        lowered = replace(functions, config=config).train_step(seen, frozen=config.finetune.freeze, placed=placed)
        needed = peak_memory(lowered.compile())
        logging.info("%s: %.1f MiB", _flags(fields) or "as it is", needed / 2**20)
        if needed <= limit:
            return fields, needed
    return None


def changes(config: Config, *, devices: int, size: Size) -> Iterator[dict[str, Any]]:
    """Changes from mild to harsh: those that leave the step what it is (rematerialisation; parts of the batch, but for
    their batch statistics), then smaller crops, then smaller batches too."""
    batch = config.train.batch_size
    parts = [n for n in range(1, batch // devices + 1) if batch % (devices * n) == 0 and n >= config.train.accumulate]
    crop = config.augment.crop if all(config.augment.crop) else size
    unit = max(32, config.model.encoder.output_stride)
    crops = [crop]
    while min(crops[-1]) // 2 >= SMALLEST:
        height, width = crops[-1]
        crops.append((max(unit, height // 2 // unit * unit), max(unit, width // 2 // unit * unit)))
    for smaller in crops:
        changed: dict[str, Any] = {} if smaller == crop else {"augment.crop": smaller}
        for n in parts if smaller == crop else parts[-1:]:
            accumulated = {} if n == config.train.accumulate else {"train.accumulate": n}
            yield changed | accumulated
            if not config.model.remat:
                yield changed | accumulated | {"model.remat": True}
    if batch > devices:
        remat = {} if config.model.remat else {"model.remat": True}
        yield {"augment.crop": crops[-1], "train.batch_size": devices, "train.accumulate": 1} | remat


def proposal(found: tuple[dict[str, Any], float] | None, *, limit: float) -> str:
    """What `fit_memory` found, in words."""
    if found is None:
        return (
            f"nothing that was tried fits into {limit / 2**30:g} GiB per device: try a smaller model, or more devices"
        )
    fields, needed = found
    change = f"with {_flags(fields)}" if fields else "as it is"
    return f"the training step fits into {limit / 2**30:g} GiB per device {change}: it needs {needed / 2**20:,.1f} MiB"


def _flags(fields: dict[str, Any]) -> str:
    return " ".join(f"--config.{name}='{value}'" for name, value in fields.items())
