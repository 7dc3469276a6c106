"""Where a run's first parameters come from, what they demand of the program, and which teacher fits it.

A configuration may leave open what follows from the weights: the arithmetic of the encoder and the normalisation of
images; for a folder of `save_pretrained` also the network itself, where fields have their defaults. `resolve` fills
that in once; the run directory records the outcome, which prediction and export use.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import jax
import numpy as np

from seg_jax import models
from seg_jax.checkpoint import Checkpoints
from seg_jax.config import Config, ConfigError, defaults, differences, flatten, load, lookup, require, weighting
from seg_jax.data.labels import LabelTable
from seg_jax.models import WeightsError

# What a configuration leaves open: field -> the value that says so.
OPEN = {"model.encoder.style": "auto", "model.encoder.output_stride": 0, "data.mean": (), "data.std": ()}

IMAGENET = {"data.mean": (0.485, 0.456, 0.406), "data.std": (0.229, 0.224, 0.225)}


def resolve(config: Config, recorded: Config | None = None) -> Config:
    """A copy of `config` in which nothing is left open.

    Args:
      config: the fields of `configs/default.py`.
      recorded: the configuration in the run directory that the program goes on with: what was open then has been
        decided, so the weights are not needed any more.

    Raises:
      ConfigError: an unknown name.
      WeightsError: the weights cannot be read, or are those of another network.
    """
    config = config.copy_and_resolve_references()
    flat = flatten(config)
    open_fields = [field for field, value in OPEN.items() if flat[field] == value]
    if weighting(config):
        open_fields.append("loss.class_weights")
    if recorded is not None:
        if _may_be_folder(config):
            open_fields += [field for field in models.folders.NETWORK if flat[field] == defaults()[field]]
        then = flatten(recorded)
        config.update_from_flattened_dict({field: then[field] for field in open_fields if field in then})
        return config
    said = _said_by_weights(config)
    model = config.model
    architecture = lookup(models.MODELS, model.name, "model.name")
    styles = list(lookup(models.ENCODERS, model.encoder.name, "model.encoder.name").epsilon)
    usual = {"model.encoder.output_stride": architecture.output_stride, "model.encoder.style": styles[0], **IMAGENET}
    decided = {**usual, **said}
    config.update_from_flattened_dict({field: decided[field] for field in open_fields if field in decided})
    for field, value in said.items():
        if field not in open_fields and flat[field] != value:
            logging.warning("config.%s = %s, but the weights were trained with %s", field, flat[field], value)
    return config


def _said_by_weights(config: Config) -> dict[str, Any]:
    """Fields of `OPEN` -> the values that the weights were trained with.

    For a folder of `save_pretrained`, the fields of `models.folders.NETWORK` become the folder's in `config`.
    """
    source, whole = weights_of(config)
    if not source:
        return {}
    path = Path(source).expanduser()
    if is_run(source):
        then = flatten(load(path / "config.json"))
        return {field: then[field] for field in OPEN if field != "model.encoder.output_stride"}
    folder = models.folders.read(path) if source != "imagenet" and models.folders.is_folder(path) else None
    if folder:
        models.folders.take(config, folder, whole=whole)
    _, naming, classes = models.naming(config, models.read(config, source), whole=whole)
    mean, std = naming.normalisation
    said = {"model.encoder.style": naming.style, "data.mean": mean, "data.std": std}
    if folder:
        if whole and classes != folder.classes:
            raise WeightsError(
                f"{path}: config.json has {folder.classes} classes, the head of its weights {classes}. They are not of "
                "one training: fetch the folder again."
            )
        said |= {field: folder.fields[field] for field in models.folders.decides(folder, whole=whole) if field in OPEN}
        if folder.normalisation:
            said |= dict(zip(("data.mean", "data.std"), folder.normalisation, strict=True))
    return said


def _may_be_folder(config: Config) -> bool:
    """Whether the weights' path is that of no file, so that the folder decided the network; it may be gone."""
    source = weights_of(config)[0]
    return bool(source) and source != "imagenet" and not models.is_file_name(source)


def weights_of(config: Config) -> tuple[str, bool]:
    """(path or name of the weights, whether they are of the whole network); ('', False) for none.

    Raises:
      ConfigError: both `model.weights` and `model.encoder.weights` are given.
    """
    model = config.model
    if model.weights and model.encoder.weights:
        raise ConfigError(
            f"config.model.weights = {model.weights!r} and config.model.encoder.weights = {model.encoder.weights!r}: "
            "the whole network holds its encoder. Leave one of them empty."
        )
    return model.weights or model.encoder.weights, bool(model.weights)


def is_run(source: str) -> bool:
    """Whether weights are to come from one of our run directories, not from a file or folder of another library."""
    path = Path(source).expanduser()
    return source != "imagenet" and path.is_dir() and not models.folders.is_folder(path)


def start(config: Config, model: Any, params: Any, model_state: Any) -> tuple[Any, Any]:
    """The parameters that a new run begins with: the given random ones, with the configured weights in their place.

    Args:
      config: resolved.
      model: from `models.build`.
      params, model_state: from `models.init`.

    Returns:
      (params, model_state) of the same structure.

    Raises:
      WeightsError: the weights do not fit the network; every difference is listed.
      CheckpointError: a run directory without a whole checkpoint.
    """
    source, whole = weights_of(config)
    if not source:
        logging.info("model.encoder.weights is empty: every parameter starts from random values")
        return params, model_state
    if is_run(source):
        params, model_state = _from_run(config, Path(source).expanduser(), params, model_state, whole=whole)
    else:
        file = models.read(config, source)
        params, model_state = models.load(config, model, params, model_state, file, whole=whole)
    _require_scales(config, source, model_state)
    return params, model_state


def _from_run(config: Config, run: Path, params: Any, model_state: Any, *, whole: bool) -> tuple[Any, Any]:
    if (seeds := load(run / "config.json").train.seeds) > 1:
        raise WeightsError(f"{run} holds {seeds} networks (train.seeds); a new one starts from one. Name another run.")
    groups = ("model.",) if whole else ("model.encoder.",)
    free = ("model.weights", "model.encoder.weights", "model.dropout", "model.encoder.drop_path", "model.dtype")
    changed = {
        key: values
        for key, values in differences(config, load(run / "config.json"), free=(*free, "model.encoder.norm")).items()
        if key.startswith(groups)
    }
    if changed:
        rows = "\n".join(f"  config.{key}: now {now!r}, there {then!r}" for key, (now, then) in changed.items())
        raise WeightsError(f"{run} was trained with another network:\n{rows}\nUse that run's values.")
    checkpoints = Checkpoints(run / "checkpoints", create=False)
    step = checkpoints.choose("best")
    ours = {"params": params, "model_state": model_state}
    theirs = checkpoints.arrays(step)  # averaged, where the run kept an average
    taken = random = 0

    def pick(path: Any, array: Any) -> Any:
        nonlocal taken, random
        name = "/".join(key.key for key in path)
        if not whole and "encoder" not in name.split("/")[1:3]:
            return array
        if name not in theirs:
            raise WeightsError(f"the checkpoint of {run} has no array {name}; it is of another network.")
        if theirs[name].shape != array.shape:
            if "head" in name:
                random += 1
                logging.info("%s: %s there, %s here; starts from random values", name, theirs[name].shape, array.shape)
                return array
            raise WeightsError(f"{name} is {theirs[name].shape} in {run} and {array.shape} here.")
        taken += 1
        return np.asarray(theirs[name])

    loaded = jax.tree_util.tree_map_with_path(pick, ours)
    logging.info("%d arrays from the best checkpoint (step %d) of %s, %d random", taken, step, run, random)
    return loaded["params"], loaded["model_state"]


def _require_scales(config: Config, source: str, model_state: Any) -> None:
    """Refuses to train with batch statistics where they would wipe out what the weights hold."""
    statistics = model_state.get("batch_stats", {}).get("encoder", {})
    leaves = jax.tree_util.tree_leaves_with_path(statistics)
    folded = bool(leaves) and all(np.all(np.asarray(a) == (path[-1].key == "var")) for path, a in leaves)
    norm = config.model.encoder.norm or config.model.norm
    if folded and norm == "batch":
        raise WeightsError(
            f"batch norm was folded into the convolutions of {source}: all running means are 0 and all variances 1. "
            "Training with batch statistics would throw the scale of every channel away. Pass "
            "--config.model.encoder.norm=frozen, which keeps the running statistics."
        )


def check_teacher(config: Config, table: LabelTable) -> None:
    """Refuses a teacher that is not there, has other classes, or probabilities of another kind.

    Args:
      config: of the run.
      table: its classes.

    Raises:
      ConfigError: naming `loss.teacher`.
    """
    if not config.loss.teacher:
        return
    run = Path(config.loss.teacher).expanduser()
    require(
        (run / "config.json").is_file() and (run / "class_names.json").is_file(),
        config,
        "loss.teacher",
        "this is no run directory; the teacher is needed at every step, also to go on with a run or to evaluate it",
        "Bring it back, or pass the directory of a run that was started with seg_jax.main",
    )
    names = LabelTable.load(run / "class_names.json").names
    require(
        names == table.names,
        config,
        "loss.teacher",
        f"it knows the classes {names}, the data has {table.names}",
        "Use a teacher of the same classes in the same order",
    )
    head = load(run / "config.json").loss.head
    require(
        (head == "sigmoid") == (config.loss.head == "sigmoid"),
        config,
        "loss.teacher",
        f"its loss.head is {head!r}, that of this run {config.loss.head!r}: their probabilities cannot be compared",
        f"Use --config.loss.head={head}",
    )
