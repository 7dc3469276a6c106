"""One stored checkpoint: reading its arrays, and the checksums by which damage is noticed.

A checkpoint holds two flat dicts of arrays, `weights` (parameters and batch statistics, and their averages; all that
prediction needs) and `training` (optimizer state, step), and a JSON `meta` with what the loop must remember, the class
table, the configuration, and a manifest: the SHA-256 of every array. Orbax writes arrays of TensorStore and a JSON
file, which are read as such: prediction need not wait for the import of orbax, and the manifest is compared at every
load, so that no damaged array passes.
"""

from __future__ import annotations

import errno
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tensorstore

from seg_jax.runtime import documents, trees
from seg_jax.runtime.documents import misfit, number
from seg_jax.runtime.errors import ANSWERS, MachineError, SegJaxError, of_the_machine
from seg_jax.steps.state import TrainState

Arrays = dict[str, np.ndarray]
Meta = dict[str, Any]

# Fields of `TrainState` by the part of a checkpoint that holds them.
PARTS = {"weights": ("params", "model_state", "ema"), "training": ("opt_state", "step", "lr_scale", "skipped")}


# What the loop and prediction read of the meta data.
FORM = {
    "score": (number, None),
    "manifest?": {str: str},
    "image_size?": (documents.size, None),
    "memory?": {str: (number, None)},
    "unreported?": {str: [[int]]},
    "config?": dict,
    "classes?": str,
    "examples?": {str: str},
}


class CheckpointError(SegJaxError, ValueError):
    """No usable checkpoint; the message says what was found and what to do."""


class MismatchError(CheckpointError):
    """A whole checkpoint, but of another network or optimizer."""


@dataclass(frozen=True)
class Stored:
    """The checkpoint of one step.

    Attributes:
      path: its directory.
    """

    path: Path

    def meta(self) -> Meta:
        """What was saved beside the arrays.

        Raises:
          CheckpointError: it is missing or damaged.
          MachineError: the machine could not read it, so that nothing is known about it.
        """
        with self._reading():
            meta = json.loads((self.path / "meta" / "metadata").read_text(encoding="utf-8"))
        if not isinstance(meta, dict) or meta.get("sha256") != digest(meta):
            raise CheckpointError(f"{self} is damaged: the checksum of its meta data does not match.")
        if problem := misfit(meta, FORM):
            raise CheckpointError(f"{self} has meta data of another form: {problem}.")
        return meta

    def arrays(self, part: str, meta: Meta) -> Arrays:
        """The arrays of 'weights' or 'training' under their names, compared with the manifest in `meta`.

        Raises:
          CheckpointError: they cannot be read, or differ.
        """
        with self._reading():
            arrays = _read(self.path / part)
        checksums = {name: sha256(array) for name, array in arrays.items()}
        noted = {name: value for name, value in meta["manifest"].items() if name.split("/")[0] in PARTS[part]}
        wrong = sorted(name for name in noted.keys() | checksums.keys() if noted.get(name) != checksums.get(name))
        if wrong:
            raise CheckpointError(
                f"{self} is damaged: {len(wrong)} arrays differ from their checksums, such as {wrong[0]}."
            )
        return arrays

    def restore(self, like: TrainState) -> tuple[TrainState, Meta]:
        """The state as host arrays, with the structure of `like`, and the meta data.

        Raises:
          CheckpointError: it is missing, damaged, or of another network.
        """
        meta = self.meta()
        fields: dict[str, Any] = {}
        for part, names in PARTS.items():
            tree = {name: getattr(like, name) for name in names}
            fields |= fill(tree, self.arrays(part, meta), str(self))
        return TrainState(**fields), meta

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, RecursionError, MemoryError) as error:  # tensorstore and json raise ValueErrors
            # Damaged checkpoints are renamed, and a start with too few descriptors would set aside whole ones.
            reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
            if of_the_machine(error) or _told_by_tensorstore(error):
                raise MachineError(
                    f"{self} could not be read now ({reason}). Nothing was changed: run the same command again once "
                    "the machine can read it."
                ) from error
            raise CheckpointError(f"{self} cannot be read ({reason}).") from error

    def __str__(self) -> str:
        return f"checkpoint {self.path}"


def _told_by_tensorstore(error: Exception) -> bool:
    """`of_the_machine` of a ValueError of tensorstore, whose text has the system's code."""
    noted = re.search(r"os_error_code='(\d+)'", str(error))
    return noted is not None and int(noted[1]) not in ANSWERS


def _read(directory: Path) -> Arrays:
    """The arrays that orbax wrote into one database, under their names."""
    if not directory.is_dir():  # it would be taken for an empty one
        raise FileNotFoundError(errno.ENOENT, "no directory", str(directory))
    database = {"driver": "ocdbt", "base": directory.as_uri()}
    keys = tensorstore.KvStore.open(database).result().list().result()
    names = sorted({key.decode().rpartition("/")[0] for key in keys})
    opened = [
        tensorstore.open({"driver": "auto", "kvstore": {**database, "path": f"{name}/"}}, read=True) for name in names
    ]
    reads = [array.result().read() for array in opened]
    return {name: np.asarray(read.result()) for name, read in zip(names, reads, strict=True)}


def flatten(tree: Any) -> Arrays:
    """A tree of arrays -> {'params/encoder/stem/conv/kernel': host array}."""
    return {name: np.asarray(leaf) for name, leaf in trees.by_name(tree).items()}


def fill(like: Any, arrays: Arrays, name: str) -> Any:
    """The inverse of `flatten`.

    Args:
      like: gives structure, shapes and dtypes.
      arrays: by their names, those of `like` and no others.
      name: of their source, for the error.

    Raises:
      MismatchError: names, shapes or dtypes differ.
    """
    wanted = trees.by_name(like)
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


def sha256(array: np.ndarray) -> str:
    """The checksum of an array, its dtype and its shape."""
    checksum = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    checksum.update(array.tobytes())
    return checksum.hexdigest()


def digest(meta: Mapping[str, Any]) -> str:
    """The checksum of meta data, without the entry that holds it."""
    rest = {key: value for key, value in meta.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
