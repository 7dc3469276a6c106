"""The batches of a training, and the step that takes them."""

from __future__ import annotations

from collections.abc import Generator
from functools import cached_property
from typing import Any

import jax

from seg_jax.augment import placing
from seg_jax.config import Size
from seg_jax.data import feed, sampler
from seg_jax.run.opening import Job


class Stream:
    """The batches of the steps from `start` to `stop`, one for each step and member.

    Images of one size travel whole, and the step draws their crops. Of photographs at their own scale the part that a
    crop shows travels, with its place, and of others where labels decide on the place.

    Args:
      job: the training.
      start, stop: numbers of steps.
    """

    def __init__(self, job: Job, *, start: int, stop: int):
        self._job, self._start, self._stop = job, start, stop

    @cached_property
    def _crops(self) -> placing.Crops | None:
        config, examples = self._job.config, self._job.splits[0]
        if not placing.needed(config.augment, several_sizes=bool(examples.sizes)):
            return None
        return placing.Crops(
            config.augment,
            seed=config.seed,
            short_side=config.data.short_side,
            start=self._start,
            members=self._job.functions.members,
            first=jax.process_index() * (config.train.batch_size // jax.process_count()),
            depth=examples.depth,
            classes=len(examples.table),
            pixels=examples.pixels,
        )

    @property
    def size(self) -> Size:
        """(height, width) of the images in a batch."""
        return self._crops.size if self._crops else self._job.splits[0].size

    def train_step(self, *, frozen: bool, steps: int = 1) -> jax.stages.Lowered:
        """The step for these batches, to be compiled; see `Functions.train_step`."""
        return self._job.functions.train_step(self.size, frozen=frozen, steps=steps, placed=self._crops is not None)

    def batches(self) -> Generator[Any]:
        """The batches, to be closed after use."""
        config, examples = self._job.config, self._job.splits[0]
        order = sampler.training_order(
            config.seed,
            start=self._start,
            stop=self._stop,
            batch_size=config.train.batch_size,
            n=len(examples),
            members=self._job.functions.members,
            process=jax.process_index(),
            processes=jax.process_count(),
        )
        return feed.batches(examples, order, config.data, self._job.mesh, fit=self._crops)
