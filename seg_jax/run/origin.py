"""Our own trained networks as the start of a new run: run directories, and archives of `seg_jax.export`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seg_jax import models, shipped
from seg_jax.config import Config, defaults, flatten, from_json, with_fields
from seg_jax.data.labels import LabelTable
from seg_jax.models import WeightsError
from seg_jax.run.directory import RunDirectory
from seg_jax.runtime import seal

# Fields of the network that are a new run's own choice.
FREE = ("model.weights", "model.encoder.weights", "model.dropout", "model.encoder.drop_path", "model.dtype")
# What only a network of ours decides, beside what a folder of another library does.
NETWORK = ("model.norm", "model.encoder.width", "model.encoder.last_stage")


@dataclass(frozen=True)
class Origin:
    """A trained network.

    Attributes:
      name: for messages.
      config: as it was recorded.
      table: () -> what its classes mean.
      read: () -> ({'params/encoder/stem/conv/kernel': array}, names of the classes); averaged weights where there are.
    """

    name: str
    config: Config
    table: Callable[[], LabelTable]
    read: Callable[[], tuple[Mapping[str, np.ndarray], tuple[str, ...]]]


def find(source: str) -> Origin | None:
    """The network of ours that weights are to come from; None for 'imagenet' and for those of another library.

    Args:
      source: a run directory, an archive, or the name of a shipped network.

    Raises:
      ConfigError, WeightsError: it is ours and cannot be used.
    """
    if source == "imagenet":
        return None
    path = shipped.find(source) or models.place(source)
    if path.is_dir():
        return None if models.folders.is_folder(path) else _of_run(RunDirectory(path))
    documents = models.documents(path)
    return _of_archive(path, documents) if "metadata.json" in documents else None


def filled(config: Config, origin: Origin, *, whole: bool) -> Config:
    """`config` with the origin's network where its fields have their default; what contradicts it stays."""
    now, usual = flatten(config), defaults()
    group = "model." if whole else "model.encoder."
    theirs = {field: value for field, value in flatten(origin.config).items() if field.startswith(group)}
    if now["model.encoder.name"] not in (usual["model.encoder.name"], theirs["model.encoder.name"]):
        return config  # another encoder: its depth and width would have nothing to do with it
    decided = (*models.folders.NETWORK, *NETWORK)
    return with_fields(config, {f: value for f, value in theirs.items() if f in decided and now[f] == usual[f]})


def _of_run(run: RunDirectory) -> Origin:
    def read() -> tuple[Mapping[str, np.ndarray], tuple[str, ...]]:
        checkpoints = run.checkpoints()
        return checkpoints.arrays(checkpoints.choose("best")), run.table().names

    return Origin(str(run), run.config(), run.table, read)


def _of_archive(path: Path, documents: Mapping[str, str]) -> Origin:
    try:
        config = from_json(json.dumps(json.loads(documents["metadata.json"])["config"]))
        table = LabelTable.from_json(documents["class_names.json"])
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} is not as it was exported ({error}). Copy or export it again.") from error
    if seal.intact(path) is False:
        raise WeightsError(
            f"{path} is not as it was exported: its content and the checksum inside disagree. Copy or export it again."
        )

    def read() -> tuple[Mapping[str, np.ndarray], tuple[str, ...]]:
        return {name: np.asarray(array, np.float32) for name, array in models.tensors(path).items()}, table.names

    return Origin(str(path), config, lambda: table, read)
