"""Saving checkpoints: asynchronous and atomic; the newest and the best are kept.

Orbax writes a checkpoint into a temporary directory that is renamed at the end, so a killed process leaves a whole one
or none.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seg_jax.run.checkpoint import Checkpoints, best_step
from seg_jax.run.stored import PARTS, CheckpointError, Meta, digest, flatten, sha256
from seg_jax.steps.state import TrainState

# What a disk says; tensorstore wraps it in errors of its own.
REFUSALS = tuple(map(os.strerror, (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO)))


class SaveError(CheckpointError):
    """A checkpoint cannot be written; those before it are whole."""


class CheckpointWriter(Checkpoints):
    """The `checkpoints` directory of the run that this process trains.

    Args:
      directory: made if it is missing.
      keep_last: number of the newest checkpoints to keep, besides the best one.
    """

    def __init__(self, directory: Path, *, keep_last: int = 1):
        directory.mkdir(parents=True, exist_ok=True)
        super().__init__(directory)
        self._manager = _make_manager(self.directory, keep_last, self._scores)

    def save(self, state: TrainState, meta: Meta, *, score: float | None) -> None:
        """Starts to save `state` under its step number; returns once the arrays are copied.

        Args:
          state: whole host arrays.
          meta: JSON values to keep beside it.
          score: of this state on the validation split, higher is better; None if it was not evaluated.

        Raises:
          SaveError: this one or the one before cannot be written.
        """
        import orbax.checkpoint as ocp

        for step in self.steps():
            self._score(step)  # of an earlier process: the best is chosen among all
        step = int(state.step)
        self._scores[step] = score
        parts = {part: flatten({name: getattr(state, name) for name in names}) for part, names in PARTS.items()}
        meta = {
            **meta,
            "score": score,
            "manifest": {name: sha256(array) for name, array in (parts["weights"] | parts["training"]).items()},
        }
        meta["sha256"] = digest(meta)
        with self._writing():
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    **{part: ocp.args.PyTreeSave(arrays) for part, arrays in parts.items()},
                    meta=ocp.args.JsonSave(meta),
                ),
            )

    def check(self) -> None:
        """Does not wait; raises the SaveError of a save that has failed meanwhile."""
        with self._writing():
            self._manager.check_for_errors()

    def wait(self) -> None:
        """Returns when everything that `save` started is on disk, or raises a SaveError."""
        with self._writing():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits and frees the threads; raises as `wait` does."""
        with self._writing():
            self._manager.close()

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, newest first, with those that are being written."""
        return sorted(self._manager.all_steps(), reverse=True)

    def _set_aside(self, step: int) -> str:
        name = super()._set_aside(step)
        self._manager.reload()
        return name

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            refusal = next((words for words in REFUSALS if words in str(error)), "")
            if not refusal and not isinstance(error, OSError):
                raise
            raise SaveError(
                f"a checkpoint cannot be written to {self.directory}: {refusal or error}. The checkpoints before it "
                "are whole. Free space there, or make it writable; then run the same command to resume from the newest."
            ) from error


def _make_manager(directory: Path, keep_last: int, scores: Mapping[int, float | None]) -> Any:
    """Orbax's writer of checkpoints, which also removes those that need not stay."""
    import orbax.checkpoint as ocp

    options = ocp.CheckpointManagerOptions(
        preservation_policy=_NewestAndBest(keep_last, scores),
        create=True,
        cleanup_tmp_directories=True,
        enable_async_checkpointing=True,
    )
    return ocp.CheckpointManager(directory, options=options, item_names=(*PARTS, "meta"))


@dataclass
class _NewestAndBest:
    """Which checkpoints stay. Orbax's own BestN forgets every score when a process ends."""

    newest: int
    scores: Mapping[int, float | None]

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        steps = [checkpoint.step for checkpoint in checkpoints]
        kept = {*sorted(steps)[-self.newest :], best_step({step: self.scores[step] for step in steps})}
        return [step in kept for step in steps]
