"""The progress bar of a training."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

from seg_jax.runtime import process

FORMAT = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"


class Bar(tqdm):
    """The progress bar of the first process; the others show none.

    The remaining time follows from the mean pace of this process: evaluations and checkpoints, which recur, are part of
    it, compilation is not. (An average over the last seconds would be multiplied by every evaluation.)

    Args:
      done: steps that were finished before.
      total: steps of the whole run.
      epoch: steps in which every training example is seen once.
    """

    def __init__(self, done: int, total: int, *, epoch: float):
        self._epoch = epoch
        super().__init__(
            disable=not process.is_first(),
            total=total,
            initial=done,
            file=sys.stderr,
            mininterval=1,
            smoothing=0,
            dynamic_ncols=True,
            bar_format=FORMAT,
        )

    @contextmanager
    def compiling(self) -> Iterator[None]:
        """Around a compilation: the bar says so, and its clock stands still."""
        begin = time.time()
        try:
            with self.showing("compiling"):
                yield
        finally:
            if not self.disable:
                self.start_t += time.time() - begin

    @contextmanager
    def showing(self, what: str) -> Iterator[None]:
        """Around something that takes longer than a step: the bar says what."""
        self.set_description_str(what)
        try:
            yield
        finally:
            self.set_description_str("", refresh=False)

    def advance(self, steps: int, *notes: str) -> None:
        """Counts `steps`, and shows the epoch and the notes that are not empty."""
        epochs = math.floor((self.total - 1) / self._epoch) + 1  # the last step may end beyond the last epoch
        epoch = min(epochs, math.ceil((self.n + steps) / self._epoch))
        self.set_postfix_str(", ".join([f"epoch {epoch}/{epochs}", *filter(None, notes)]), refresh=False)
        self.update(steps)
