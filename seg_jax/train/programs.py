"""The compiled training steps of a run: which program runs next."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax

from seg_jax.config import Config
from seg_jax.run.cost import peak_memory
from seg_jax.run.program import Functions
from seg_jax.runtime import process
from seg_jax.train.bar import Bar
from seg_jax.train.clock import Clock
from seg_jax.train.health import Health


class Programs:
    """Training steps, compiled when they are first needed.

    Args:
      train_step: (frozen, steps) -> the step for the run's batches, see `Stream.train_step`.
      functions: the run's functions, with its length.
      health: the steps in flight, which finish before a program is compiled.
      clock: does not count compilation as training.
      bar: shows that a program is being compiled.
    """

    def __init__(
        self,
        train_step: Callable[..., jax.stages.Lowered],
        functions: Functions,
        *,
        health: Health,
        clock: Clock,
        bar: Bar,
    ):
        self._train_step, self._functions = train_step, functions
        self._health, self._clock, self._bar = health, clock, bar
        self._compiled: dict[tuple[bool, int], Any] = {}
        self.peak_memory = 0  # bytes on each device; 0 until a program was compiled

    def after(self, done: int) -> tuple[int, Any]:
        """(number of steps, compiled (state, batches, teacher) -> (state, metrics)) that follow `done` steps."""
        length = self._functions.length
        steps = dispatch_length(self._functions.config, done, every=length.every, ends=length.ends)
        frozen = done < length.frozen
        if (frozen, steps) not in self._compiled:
            if done == length.frozen:
                self._compiled.clear()  # of the first phase
            self._compiled[frozen, steps] = self._compile(frozen=frozen, steps=steps)
        return steps, self._compiled[frozen, steps]

    def _compile(self, *, frozen: bool, steps: int) -> Any:
        self._health.settle()
        begin = time.perf_counter()
        with self._clock.paused(), self._bar.compiling():
            compiled = self._train_step(frozen=frozen, steps=steps).compile()
            process.trim_memory()
            self.peak_memory = max(self.peak_memory, peak_memory(compiled))
        what = ("decoder's " if frozen else "") + ("training step" if steps == 1 else f"{steps} training steps")
        logging.info("compiled the %s in %.1f s", what, time.perf_counter() - begin)
        return compiled


def dispatch_length(config: Config, done: int, *, every: int, ends: Sequence[int]) -> int:
    """The number of steps that run as one program after `done`: `train.steps_per_dispatch`, or 1 near an event.

    It depends on `done` alone, so that an interrupted run resumes with the same programs.

    Args:
      config: the whole configuration.
      done: finished steps.
      every: steps between evaluations.
      ends: steps after which something changes.
    """
    most = config.train.steps_per_dispatch
    periods = (every, config.checkpoint.every_steps, config.log.every_steps)
    window = (config.profile.start_step, config.profile.start_step + config.profile.steps)
    events = [done + period - done % period for period in periods if period]
    events += [end for end in (*ends, *window) if end > done]
    return most if min(events) >= done + most else 1
