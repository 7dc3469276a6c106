"""The speed of training, and the profiler's window."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax

from seg_jax.config.default import ProfileConfig


class Clock:
    """Speed between two log lines, without the time of evaluations and checkpoints.

    Args:
      batch_size: images a step.
    """

    def __init__(self, batch_size: int):
        self.finished_steps = 0
        self._batch_size = batch_size
        self._reset()

    def _reset(self) -> None:
        self._begin = time.perf_counter()
        self._waited = self._paused = 0.0
        self._steps_then = self.finished_steps

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around the wait for the next batch."""
        begin = time.perf_counter()
        yield
        self._waited += time.perf_counter() - begin

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Around what is not training."""
        begin = time.perf_counter()
        yield
        self._paused += time.perf_counter() - begin

    def speed(self) -> dict[str, float]:
        """Steps and images a second, and the share of the time spent waiting for data."""
        elapsed = max(time.perf_counter() - self._begin - self._paused, 1e-9)
        steps = (self.finished_steps - self._steps_then) / elapsed
        return {
            "steps_per_second": steps,
            "images_per_second": steps * self._batch_size,
            "input_bound": self._waited / elapsed,
        }

    def lap(self) -> dict[str, float]:
        """`speed` since the last lap."""
        speed = self.speed()
        self._reset()
        return speed

    def postfix(self, metrics: dict[str, float]) -> str:
        """Speed and loss for the progress bar."""
        if not metrics or self.finished_steps == self._steps_then:
            return ""
        speed = self.speed()
        pace = f"{speed['steps_per_second']:.2f} step/s, {speed['images_per_second']:.1f} img/s"
        return f"{pace}, loss {metrics['loss']:.3f}"


class Profiler:
    """JAX's profiler for a window of steps.

    Args:
      profile: reads `start_step` and `steps`.
      folder: where the profile is written to.
    """

    def __init__(self, profile: ProfileConfig, folder: Path):
        self.start, self.stop = profile.start_step, profile.start_step + profile.steps
        self._folder, self._running = folder, False

    def begins(self, done: int) -> bool:
        """Whether the window opens after `done` finished steps."""
        return self.start == done < self.stop

    def ends(self, done: int) -> bool:
        """Whether the window is open and closes after `done` finished steps; let them finish before `close`."""
        return self._running and done == self.stop

    def open(self) -> None:
        """Starts the profiler."""
        jax.profiler.start_trace(str(self._folder))
        self._running = True

    def close(self) -> None:
        """Stops the profiler if it runs, and writes the profile."""
        if self._running:
            jax.profiler.stop_trace()
            self._running = False
