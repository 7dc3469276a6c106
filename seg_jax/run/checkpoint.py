"""The checkpoints of a run: which there are, which is the best, and the newest that is whole."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seg_jax.run.stored import Arrays, CheckpointError, Meta, MismatchError, Stored, fill
from seg_jax.steps.state import TrainState

__all__ = ["CheckpointError", "Checkpoints", "MismatchError"]


class Checkpoints:
    """The `checkpoints` directory of a run, to be read; see `saving.CheckpointWriter`.

    Args:
      directory: holds one numbered directory for each checkpoint.

    Raises:
      CheckpointError: it does not exist.
    """

    def __init__(self, directory: Path):
        self.directory = directory.absolute()
        if not self.directory.is_dir():
            raise CheckpointError(f"{directory} does not exist: the run has saved no checkpoint yet. Train it first.")
        self._scores: dict[int, float | None] = {}  # by step, those that were asked for

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, newest first; whether it can be read shows when it is."""
        # One that is being written, or was set aside, has another name.
        return sorted((int(path.name) for path in self.directory.iterdir() if path.name.isdecimal()), reverse=True)

    def restore_latest(self, like: TrainState) -> tuple[TrainState, Meta] | None:
        """The newest checkpoint that is whole, or None if there is none at all.

        A damaged one is reported and set aside under the name `STEP.damaged`.

        Args:
          like: gives structure, shapes and dtypes.

        Raises:
          MismatchError: the newest whole checkpoint is of another network or optimizer; it stays where it is.
          CheckpointError: there were checkpoints, but none of them is whole.
          MachineError: one could not be read now; it stays where it is, and no older one is taken in its place.
        """
        for step in self.steps():
            try:
                return self.restore(step, like)
            except MismatchError:
                raise
            except CheckpointError as error:
                logging.error("%s It is set aside as %s; trying the one before.", error, self._set_aside(step))
        damaged = sorted(path.name for path in self.directory.glob("*.damaged*"))
        if damaged:  # to begin at step 0 in their place would be a surprise
            raise CheckpointError(
                f"none of the checkpoints in {self.directory} can be read: {', '.join(damaged)}. "
                "Restore one from a copy, or start again in another --workdir."
            )
        return None

    def _set_aside(self, step: int) -> str:
        """Renames a damaged checkpoint; its new name."""
        aside, number = self.directory / f"{step}.damaged", 1
        while aside.exists():
            number += 1
            aside = self.directory / f"{step}.damaged{number}"
        (self.directory / str(step)).rename(aside)
        return aside.name

    def restore(self, step: int, like: TrainState) -> tuple[TrainState, Meta]:
        """The state after `step` as host arrays, and the meta data; see `Stored.restore`."""
        return self._stored(step).restore(like)

    def weights(self, step: int, like: Any, *, averaged: bool = True) -> dict[str, Any]:
        """{'params', 'model_state'} of one step, with the structure of `like`; the optimizer is not read.

        Args:
          like: gives structure, shapes and dtypes.
          averaged: the average over the steps, where the run kept one.
        """
        return fill(like, self.arrays(step, averaged=averaged), str(self._stored(step)))

    def arrays(self, step: int, *, averaged: bool = True) -> Arrays:
        """The weights of one step under their paths, {'params/encoder/stem/conv/kernel': array}; see `weights`."""
        arrays = self._stored(step).arrays("weights", self.meta(step))
        average = {name.removeprefix("ema/"): array for name, array in arrays.items() if name.startswith("ema/")}
        trained = {name: array for name, array in arrays.items() if not name.startswith("ema/")}
        return average if averaged and average else trained

    def meta(self, step: int) -> Meta:
        """What was saved beside the arrays of one step; see `Stored.meta`."""
        return self._stored(step).meta()

    def newest_meta(self) -> Meta:
        """The meta data of the newest checkpoint in which they are whole; {} without one."""
        for step in self.steps():
            try:
                return self.meta(step)
            except CheckpointError:
                continue  # `restore_latest` reports it
        return {}

    def choose(self, which: str) -> int:
        """'best', 'last' or a step number -> the step.

        Raises:
          CheckpointError: there is no such checkpoint.
        """
        steps = self.steps()
        if not steps:
            raise CheckpointError(f"{self.directory} holds no checkpoint. Train first.")
        if which == "last":
            return self._newest_whole(steps)
        if which == "best":
            best = best_step({step: self._score(step) for step in steps})
            return self._newest_whole(steps) if best is None else best
        if not which.isdigit() or int(which) not in steps:
            known = ", ".join(map(str, sorted(steps)))
            raise CheckpointError(f"checkpoint {which!r} is not one of: best, last, {known}.")
        return int(which)

    def _stored(self, step: int) -> Stored:
        return Stored(self.directory / str(step))

    def _score(self, step: int) -> float | None:
        if step not in self._scores:
            try:
                self._scores[step] = self.meta(step)["score"]
            except CheckpointError as error:
                logging.error("%s It is passed over.", error)
                self._scores[step] = None
        return self._scores[step]

    def _newest_whole(self, steps: list[int]) -> int:
        for step in steps:
            try:
                self.meta(step)
                return step
            except CheckpointError as error:
                logging.error("%s It is passed over.", error)
        raise CheckpointError(f"none of the checkpoints {steps} in {self.directory} can be read.")


def best_step(scores: Mapping[int, float | None]) -> int | None:
    """The step with the highest score; of equal ones the earliest, as for the loop's patience. None without any."""
    known = {step: score for step, score in scores.items() if score is not None}
    return max(known, key=lambda step: (known[step], -step)) if known else None
