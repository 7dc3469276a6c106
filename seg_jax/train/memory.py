"""What a training needs of memory, and what its step may be changed to so that it fits into that of a device."""

from __future__ import annotations

import contextlib
import importlib
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import jax

from seg_jax import models
from seg_jax.augment import placing
from seg_jax.config import Config, Size, with_fields
from seg_jax.data.examples import Examples
from seg_jax.run import cost
from seg_jax.run.cost import peak_memory
from seg_jax.run.opening import Job
from seg_jax.run.program import Functions
from seg_jax.runtime import machine, process, sharding
from seg_jax.train import shapes

LIBRARIES = ("orbax.checkpoint", "matplotlib.figure", "seg_jax.train.session")  # imported when they are needed
SMALLEST = 64  # pixels; crops are not proposed below


@dataclass(frozen=True)
class Footprint:
    """The largest memory of a training, in bytes; all of it is the host's, but for `step` with an accelerator.

    Attributes:
      process: the interpreter with all libraries that a training imports.
      programs: what stays of tracing and compiling.
      compiling: what is in use only while XLA and LLVM compile; little for programs that come from the cache.
      step: the larger one of the training and evaluation steps, by XLA's plan.
      cache: both splits, where `data.cache` keeps them in host memory.
      batches: those that are read ahead, and the two whose steps run.
      saving: the copy of the state that a checkpoint is written from.
      kept: freed while steps run, and kept by malloc for the next one.
    """

    process: int
    programs: int
    compiling: int
    step: int
    cache: int
    batches: int
    saving: int
    kept: int

    @property
    def host(self) -> int:
        """The peak of the process: compiling is over before the steps begin."""
        steps = self.batches + self.saving + self.kept + self.step * (jax.default_backend() == "cpu")
        return self.process + self.programs + self.cache + max(self.compiling, steps)

    def __str__(self) -> str:
        place = "at" if jax.default_backend() == "cpu" else "of the host at"
        rows = {
            "process": (self.process, "interpreter and libraries"),
            "programs": (self.programs, "kept after compilation"),
            "compiling": (self.compiling, "while LLVM runs, then returned; less where programs come from the cache"),
            "step": (self.step, "the larger one of training and evaluation, planned by XLA, per device"),
            "data cache": (self.cache, "both splits"),
            "batches": (self.batches, "read ahead and in use"),
            "saving": (self.saving, "copy of the state"),
            "kept": (self.kept, "freed between steps and kept by malloc, at most"),
        }
        lines = [f"  {name:<22}{size / 2**20:>14,.1f} MiB  ({what})" for name, (size, what) in rows.items()]
        total = f"  peak of the process   {self.host / 2**20:>14,.1f} MiB"
        return "\n".join([f"memory {place} the peak", *lines, total])


def measure(job: Job, *, cache: str) -> tuple[str, Footprint | None]:
    """Compiles the steps of a training, as it does; (what they cost, see `cost.describe`; all of its memory).

    The memory is None where the system does not say what a process has.

    Args:
      job: the training; its splits need not be cached.
      cache: the training's `data.cache`.
    """
    config, (train, val) = job.config, job.splits
    for library in LIBRARIES:
        importlib.import_module(library)
    if config.log.tensorboard or cache == "none" or train.sizes:
        with contextlib.suppress(ImportError):
            process.hide_accelerators_from_tensorflow()
            importlib.import_module("clu.metric_writers")
    process.trim_memory()
    machine.forget_peak()
    before = machine.resident()
    text, step = cost.describe(job.functions, shapes.steps(job))
    during = machine.resident()
    process.trim_memory()
    after = machine.resident()
    if not (before and during and after):
        return text, None
    state = jax.tree.leaves(job.functions.abstract_state)
    batches = [
        split.batch_size * _bytes(examples) // len(examples)
        for split, examples in ((config.train, train), (config.eval, val))
    ]
    return text, Footprint(
        process=before[0],
        programs=max(0, after[0] - before[0]),
        compiling=max(0, during[1] - after[0]),
        step=step,
        cache=sum(map(_bytes, job.splits)) * (cache != "none"),
        batches=(2 + config.data.prefetch * (cache == "none")) * max(batches),
        saving=sum(leaf.size * leaf.dtype.itemsize for leaf in state),
        kept=process.kept_by_malloc(),
    )


def _bytes(examples: Examples) -> int:
    """Of all images, three colours and a class for each pixel."""
    sizes = examples.sizes or (examples.size,) * len(examples)
    return 4 * sum(math.prod(size) for size in sizes)


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
    batch, smallest = config.train.batch_size, max(devices, models.decoders.least_images(config.model))
    parts = [n for n in range(config.train.accumulate, batch // smallest + 1) if batch % (devices * n) == 0]
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
    if batch > smallest:
        remat = {} if config.model.remat else {"model.remat": True}
        yield {"augment.crop": crops[-1], "train.batch_size": smallest, "train.accumulate": 1} | remat


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
