"""Steps in flight: their losses are read some programs late, and a step that is not finite is noticed."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from seg_jax.config import Config
from seg_jax.data import sampler
from seg_jax.data.examples import Examples
from seg_jax.run.checkpoint import Checkpoints
from seg_jax.runtime.errors import SegJaxError
from seg_jax.train.clock import Clock
from seg_jax.train.hooks import nothing

MAX_SKIPPED_STEPS_IN_A_ROW = 20  # steps that are not finite; with more of them it is no accident

PROGRAMS_IN_FLIGHT = 2  # losses are read this late, so that devices never wait for Python


class DivergedError(SegJaxError, RuntimeError):
    """Loss or gradient is no longer a finite number."""


class Health:
    """The metrics of the steps that the devices work on.

    Args:
      skip: whether a step that is not finite is skipped (`train.nonfinite`), instead of ending the run.
      clock: counts the finished steps.
      diverged: (step, its values in words) -> the error that ends the run.
      on_step: called with every finished step and its metrics.

    Attributes:
      counts: int64 [3 k], TP, FP and FN of all finished steps on their training batches; 0 before the first.
    """

    def __init__(
        self,
        *,
        skip: bool,
        clock: Clock,
        diverged: Callable[[int, str], DivergedError],
        on_step: Callable[[int, dict[str, float]], Any] = nothing,
    ):
        self._skip, self._clock, self._diverged, self._on_step = skip, clock, diverged, on_step
        self._pending: deque[tuple[int, dict[str, jax.Array]]] = deque()
        self._last: dict[str, float] = {}
        self._skipped_in_a_row = 0
        self.counts: np.ndarray = np.zeros((), np.int64)

    def started(self, step: int, metrics: dict[str, jax.Array]) -> None:
        """Notes a program that the devices work on; `step` is its last, and metrics are [] or one for each step."""
        self._pending.append((step, metrics))

    def settle(self, in_flight: int = 0) -> dict[str, float]:
        """Waits until at most `in_flight` programs are unfinished; the metrics of the newest finished step.

        Raises:
          DivergedError: one of them was not finite.
        """
        while len(self._pending) > in_flight:
            last, arrays = self._pending.popleft()
            arrays = jax.device_get(arrays)
            counts = np.asarray(arrays.pop("counts"), np.int64)
            self.counts = self.counts + counts.reshape(-1, *counts.shape[-2:]).sum(0)
            metrics = {name: np.atleast_1d(values) for name, values in arrays.items()}
            count = len(metrics["loss"])
            for i in range(count):
                self._last = {name: float(values[i]) for name, values in metrics.items()}
                self._check(last - count + i + 1)
                self._on_step(last - count + i + 1, dict(self._last))
        return self._last

    def _check(self, step: int) -> None:
        self._clock.finished_steps += 1
        values = ", ".join(f"{name} = {value}" for name, value in self._last.items() if not math.isfinite(value))
        if not values:
            self._skipped_in_a_row = 0
            return
        if not self._skip:
            raise self._diverged(step, values)
        self._skipped_in_a_row += 1
        logging.warning("step %d is skipped: %s", step, values)
        if self._skipped_in_a_row == MAX_SKIPPED_STEPS_IN_A_ROW:
            raise self._diverged(step, values)


def diverged(config: Config, examples: Examples, checkpoints: Checkpoints, step: int, values: str) -> DivergedError:
    """The error that names the batch of `step`, the last good checkpoint and what may help.

    Args:
      config: the whole configuration.
      examples: the training split.
      checkpoints: of the run, with nothing under way.
      step: whose loss or gradient is not finite.
      values: these, in words.
    """
    seeds = range(config.seed, config.seed + config.train.seeds)
    rows = [sampler.indices(seed, step - 1, config.train.batch_size, len(examples)) for seed in seeds]
    names = "\n".join(f"  {examples.names[i]}" for i in np.concatenate(rows))
    steps = checkpoints.steps()
    saved = f"The last good checkpoint is {checkpoints.directory / str(steps[0])}" if steps else "None was saved"
    return DivergedError(
        f"{values} at step {step}, on the batch\n{names}\n{saved}. Try a smaller optim.lr (now {config.optim.lr}), "
        "optim.grad_clip=1.0, more optim.warmup_steps, or model.dtype=float32."
    )
