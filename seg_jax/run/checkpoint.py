"""Checkpoints: asynchronous, atomic, checked when they are read.

A checkpoint holds two flat dicts of arrays, `weights` (parameters and batch statistics, and their averages; all that
prediction needs) and `training` (optimizer state, step), and a JSON `meta` with what the loop must remember, the class
table, the configuration, and a manifest: the SHA-256 of every array. Orbax writes it into a temporary directory that is
renamed at the end, so a killed process leaves a whole checkpoint or none. What it wrote are arrays of TensorStore and a
JSON file, which are read as such: prediction need not wait for the import of orbax, and the manifest is compared
at every load, so that no damaged array passes.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tensorstore

from seg_jax.steps.state import TrainState

Arrays = dict[str, np.ndarray]
Meta = dict[str, Any]

# Fields of `TrainState` by the part of a checkpoint that holds them.
PARTS = {"weights": ("params", "model_state", "ema"), "training": ("opt_state", "step", "lr_scale", "skipped")}

# What a disk says; tensorstore wraps it in errors of its own.
REFUSALS = tuple(map(os.strerror, (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO)))


class CheckpointError(ValueError):
    """No usable checkpoint; the message says what was found and what to do."""


class MismatchError(CheckpointError):
    """A whole checkpoint, but of another network or optimizer."""


class SaveError(CheckpointError):
    """A checkpoint cannot be written; those before it are whole."""


class Checkpoints:
    """The `checkpoints` directory of one run.

    Args:
      directory: holds one numbered directory per checkpoint.
      keep_last: how many of the newest to keep, besides the best one.
      create: make the directory if it is missing; False for readers, who can save nothing.
    """

    def __init__(self, directory: Path, *, keep_last: int = 1, create: bool = True):
        self.directory = directory.absolute()
        if not create and not self.directory.is_dir():
            raise CheckpointError(f"{directory} does not exist: the run has saved no checkpoint yet. Train it first.")
        self._scores: dict[int, float | None] = {}  # of every step, as far as it was asked for
        self._manager: Any = _make_manager(self.directory, keep_last, self._scores) if create else None

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
            self._score(step)  # of an earlier run: what is best is decided among all
        step = int(state.step)
        self._scores[step] = score
        parts = {item: flatten({name: getattr(state, name) for name in names}) for item, names in PARTS.items()}
        meta = {
            **meta,
            "score": score,
            "manifest": {name: _sha256(array) for name, array in (parts["weights"] | parts["training"]).items()},
        }
        meta["sha256"] = _digest(meta)
        with self._writing():
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    **{item: ocp.args.PyTreeSave(arrays) for item, arrays in parts.items()},
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
        if self._manager:
            with self._writing():
                self._manager.close()

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
                "are whole. Free space there, or make it writable; the same command then goes on from the newest."
            ) from error

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, newest first; whether it can be read shows when it is."""
        if self._manager:
            return sorted(self._manager.all_steps(), reverse=True)
        # One that is being written, or was set aside, has another name.
        return sorted((int(place.name) for place in self.directory.iterdir() if place.name.isdecimal()), reverse=True)

    def restore_latest(self, like: TrainState) -> tuple[TrainState, Meta] | None:
        """The newest checkpoint that is whole, or None if there is none at all.

        A damaged one is reported and set aside under the name `STEP.damaged`.

        Args:
          like: gives structure, shapes and dtypes.

        Raises:
          MismatchError: the newest whole checkpoint is of another network or optimizer; it stays where it is.
          CheckpointError: there were checkpoints, but none of them is whole.
        """
        found = self.steps()
        for step in found:
            try:
                return self.restore(step, like)
            except MismatchError:
                raise
            except CheckpointError as error:
                place = self.directory / str(step)
                aside = self.directory / f"{step}.damaged"
                number = 1
                while aside.exists():
                    number += 1
                    aside = self.directory / f"{step}.damaged{number}"
                place.rename(aside)
                logging.error("%s It is set aside as %s; trying the one before.", error, aside.name)
                if self._manager:
                    self._manager.reload()
        damaged = sorted(place.name for place in self.directory.glob("*.damaged*"))
        if damaged:  # to begin at step 0 in their place would be a surprise
            raise CheckpointError(
                f"none of the checkpoints in {self.directory} can be read: {', '.join(damaged)}. "
                "Restore one from a copy, or start again in another --workdir."
            )
        return None

    def restore(self, step: int, like: TrainState) -> tuple[TrainState, Meta]:
        """The checkpoint of one step, as host arrays, with the structure of `like`.

        Raises:
          CheckpointError: it is missing, damaged, or of another network.
        """
        meta = self.meta(step)
        fields: dict[str, Any] = {}
        for item, names in PARTS.items():
            tree = {name: getattr(like, name) for name in names}
            fields |= fill(tree, self._arrays(step, item, meta), self._name(step))
        return TrainState(**fields), meta

    def weights(self, step: int, like: Any, *, averaged: bool = True) -> dict[str, Any]:
        """{'params', 'model_state'} of one step, with the structure of `like`; the optimizer is not read.

        Args:
          step: of the checkpoint.
          like: gives structure, shapes and dtypes.
          averaged: the average over the steps, where the run kept one.
        """
        return fill(like, self.arrays(step, averaged=averaged), self._name(step))

    def arrays(self, step: int, *, averaged: bool = True) -> Arrays:
        """The weights of one step under their paths, {'params/encoder/stem/conv/kernel': array}; see `weights`."""
        arrays = self._arrays(step, "weights", self.meta(step))
        average = {name.removeprefix("ema/"): array for name, array in arrays.items() if name.startswith("ema/")}
        trained = {name: array for name, array in arrays.items() if not name.startswith("ema/")}
        return average if averaged and average else trained

    def meta(self, step: int) -> Meta:
        """What was saved beside the arrays.

        Raises:
          CheckpointError: it is missing or damaged.
        """
        with self._reading(step):
            meta = json.loads((self.directory / str(step) / "meta" / "metadata").read_text(encoding="utf-8"))
        if not isinstance(meta, dict) or meta.get("sha256") != _digest(meta):
            raise CheckpointError(f"{self._name(step)} is damaged: the checksum of its meta data does not match.")
        return meta

    def choose(self, which: str) -> int:
        """'best', 'last' or a step number -> the step.

        Raises:
          CheckpointError: there is no such checkpoint.
        """
        found = self.steps()
        if not found:
            raise CheckpointError(f"{self.directory} holds no checkpoint. Train first.")
        if which == "last":
            return self._whole(found)
        if which == "best":
            best = _best({step: self._score(step) for step in found})
            return self._whole(found) if best is None else best
        if not which.isdigit() or int(which) not in found:
            raise CheckpointError(
                f"checkpoint {which!r} is not one of: best, last, {', '.join(map(str, sorted(found)))}."
            )
        return int(which)

    def _score(self, step: int) -> float | None:
        if step not in self._scores:
            try:
                self._scores[step] = self.meta(step)["score"]
            except CheckpointError as error:
                logging.error("%s It is passed over.", error)
                self._scores[step] = None
        return self._scores[step]

    def _whole(self, found: list[int]) -> int:
        for step in found:
            try:
                self.meta(step)
                return step
            except CheckpointError as error:
                logging.error("%s It is passed over.", error)
        raise CheckpointError(f"none of the checkpoints {found} in {self.directory} can be read.")

    def _name(self, step: int) -> str:
        return f"checkpoint {self.directory / str(step)}"

    @contextmanager
    def _reading(self, step: int) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:  # ValueError is also what tensorstore and json raise
            raise CheckpointError(
                f"{self._name(step)} cannot be read ({type(error).__name__}: {str(error).splitlines()[0][:200]})."
            ) from error

    def _arrays(self, step: int, item: str, meta: Meta) -> Arrays:
        with self._reading(step):
            arrays = _read(self.directory / str(step) / item)
        found = {name: _sha256(array) for name, array in arrays.items()}
        noted = {name: digest for name, digest in meta["manifest"].items() if name.split("/")[0] in PARTS[item]}
        wrong = sorted(name for name in noted.keys() | found.keys() if noted.get(name) != found.get(name))
        if wrong:
            raise CheckpointError(
                f"{self._name(step)} is damaged: {len(wrong)} arrays differ from their checksums, such as {wrong[0]}."
            )
        return arrays


def _read(place: Path) -> Arrays:
    """The arrays that orbax wrote into one database, under their names."""
    if not place.is_dir():  # it would be taken for an empty one
        raise FileNotFoundError(f"no directory {place}")
    database = {"driver": "ocdbt", "base": place.as_uri()}
    keys = tensorstore.KvStore.open(database).result().list().result()
    names = sorted({key.decode().rpartition("/")[0] for key in keys})
    opened = [
        tensorstore.open({"driver": "auto", "kvstore": {**database, "path": f"{name}/"}}, read=True) for name in names
    ]
    reads = [array.result().read() for array in opened]
    return {name: np.asarray(read.result()) for name, read in zip(names, reads, strict=True)}


def _make_manager(directory: Path, keep_last: int, scores: Mapping[int, float | None]) -> Any:
    """What writes checkpoints, and removes those that need not stay."""
    import orbax.checkpoint as ocp

    options = ocp.CheckpointManagerOptions(
        preservation_policy=_NewestAndBest(keep_last, scores),
        create=True,
        cleanup_tmp_directories=True,
        enable_async_checkpointing=True,
    )
    return ocp.CheckpointManager(directory, options=options, item_names=("weights", "training", "meta"))


@dataclass
class _NewestAndBest:
    """Which checkpoints stay. Orbax's own BestN forgets every score when a process ends."""

    newest: int
    scores: Mapping[int, float | None]

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        steps = [checkpoint.step for checkpoint in checkpoints]
        kept = {*sorted(steps)[-self.newest :], _best({step: self.scores[step] for step in steps})}
        return [step in kept for step in steps]


def _best(scores: Mapping[int, float | None]) -> int | None:
    """The step with the highest score; of equal ones the earliest, as for the loop's patience."""
    known = {step: score for step, score in scores.items() if score is not None}
    return max(known, key=lambda step: (known[step], -step)) if known else None


def flatten(tree: Any) -> Arrays:
    """A tree of arrays -> {'params/encoder/stem/conv/kernel': array}."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf) for path, leaf in leaves}


def fill(like: Any, arrays: Arrays, name: str) -> Any:
    """The inverse of `flatten`; the arrays must be the ones that `like` has."""
    wanted = {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(like)
    }
    missing, extra = sorted(wanted.keys() - arrays.keys()), sorted(arrays.keys() - wanted.keys())
    shapes = [
        f"{key} {arrays[key].shape} instead of {wanted[key].shape}"
        for key in wanted.keys() & arrays.keys()
        if arrays[key].shape != wanted[key].shape or arrays[key].dtype != wanted[key].dtype
    ]
    if missing or extra or shapes:
        raise MismatchError(
            f"{name} is of another network or optimizer: missing {missing[:5]}, unknown {extra[:5]}, "
            f"other shape {sorted(shapes)[:5]}."
        )
    return jax.tree.unflatten(jax.tree.structure(like), [arrays[key] for key in wanted])


def _sha256(array: np.ndarray) -> str:
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    digest.update(array.tobytes())
    return digest.hexdigest()


def _digest(meta: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in meta.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
