"""Where a run's first parameters come from, and what they demand of the program.

A configuration may leave open what follows from the weights: the arithmetic of the encoder and the normalisation of
images; for a folder of `save_pretrained` or a network of ours also the network itself, where fields have their
defaults. `resolve` fills that in once; the run directory records it, and `as_recorded`, prediction and export use that.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from seg_jax import models
from seg_jax.config import Config, ConfigError, defaults, differences, flatten, lookup, weighting, with_fields
from seg_jax.models import WeightsError
from seg_jax.run import fetched, heads, origin
from seg_jax.run.directory import rows
from seg_jax.runtime import trees

# What a configuration leaves open: field -> the value that says so.
OPEN = {
    "model.encoder.style": "auto",
    "model.encoder.output_stride": 0,
    "model.channels": 0,
    "data.mean": (),
    "data.std": (),
}

WEIGHTS = ("model.weights", "model.encoder.weights")
NORMALISATION = ("data.mean", "data.std")


def resolve(config: Config) -> Config:
    """A copy of `config` in which nothing is left open, but mean and deviation of bands that no weights know.

    Raises:
      ConfigError: an unknown name.
      WeightsError: the weights cannot be read, or are those of another network.
    """
    config = _pinned(config)
    flat, open_fields = flatten(config), _open_fields(config)
    config, demands = _demands_of_weights(config)
    channels = len(config.data.bands) or 3
    demands = {f: value for f, value in demands.items() if f not in NORMALISATION or len(value) == channels}
    architecture = lookup(models.MODELS, config.model.name, "model.name")
    styles = list(lookup(models.ENCODERS, config.model.encoder.name, "model.encoder.name").epsilon)
    decided = {
        "model.encoder.output_stride": architecture.output_stride,
        "model.encoder.style": styles[0],
        "model.channels": models.width(config),
        **({} if config.data.bands or config.data.range else dict(zip(NORMALISATION, models.IMAGENET, strict=True))),
        **demands,
    }
    for field, value in demands.items():
        if field not in open_fields and flat[field] != value:
            logging.warning("config.%s = %s, but the weights were trained with %s", field, flat[field], value)
    return with_fields(config, {field: decided[field] for field in open_fields if field in decided})


def as_recorded(config: Config, recorded: Config) -> Config:
    """A copy of `config` in which what is left open is as the run has decided it, for which no weights are needed.

    Args:
      config: what the user asked for.
      recorded: the configuration of the run that is resumed or evaluated.
    """
    open_fields, then = _open_fields(config), flatten(recorded)
    if _may_decide(config):
        flat = flatten(config)
        open_fields += [
            field for field in (*models.folders.NETWORK, *origin.NETWORK) if flat[field] == defaults()[field]
        ]
    if not config.train.extended_at:
        open_fields.append("train.extended_at")
    open_fields += [field for field in WEIGHTS if fetched.same(flatten(config)[field], then.get(field, ""))]
    return with_fields(config, {field: then[field] for field in open_fields if field in then})


def _pinned(config: Config) -> Config:
    """A copy of `config` in which weights of a model hub are those of one commit."""
    references = {field: models.hub.parse(flatten(config)[field]) for field in WEIGHTS}
    pins = {field: str(models.hub.fetch(ref).reference) for field, ref in references.items() if ref is not None}
    return with_fields(config, pins)


def _open_fields(config: Config) -> list[str]:
    """The fields that a configuration leaves open."""
    flat = flatten(config)
    weights = ["loss.class_weights"] if weighting(config) else []
    return [field for field, value in OPEN.items() if flat[field] == value] + weights


def _demands_of_weights(config: Config) -> tuple[Config, dict[str, Any]]:
    """(config, {field of `OPEN`: the value that the weights were trained with}).

    With a folder of `save_pretrained` or a network of ours the configuration has its network where it leaves that open.
    """
    source, whole = weights_of(config)
    if not source:
        return config, {}
    path = Path(source) if source == "imagenet" else models.place(source)
    if trained := origin.find(source):
        then = flatten(trained.config)
        ours = ("model.encoder.output_stride",) if whole else ("model.encoder.output_stride", "model.channels")
        demands = {field: then[field] for field in OPEN if field not in ours}
        return origin.filled(config, trained, whole=whole), demands
    folder = models.folders.read(path) if source != "imagenet" and models.folders.is_folder(path) else None
    if folder:
        config = models.folders.filled(config, folder, whole=whole)
    _, naming, classes = models.naming(config, models.read(config, source), whole=whole)
    mean, std = naming.normalisation
    demands = {"model.encoder.style": naming.style, "data.mean": mean, "data.std": std}
    if folder:
        if whole and classes != folder.classes:
            raise WeightsError(
                f"{path}: config.json has {folder.classes} classes, the head of its weights {classes}. They are not of "
                "one training: fetch the folder again."
            )
        decided = models.folders.decides(folder, whole=whole)
        demands |= {field: folder.fields[field] for field in decided if field in OPEN}
        if folder.normalisation:
            demands |= dict(zip(("data.mean", "data.std"), folder.normalisation, strict=True))
    return config, demands


def _may_decide(config: Config) -> bool:
    """Whether the weights decided the network: their path, which may be gone, is that of no file of another library."""
    source = weights_of(config)[0]
    if not source or source == "imagenet":
        return False
    return not models.is_file_name(source) or (Path(source).expanduser().is_file() and origin.find(source) is not None)


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


def start(config: Config, model: Any, params: Any, model_state: Any, *, names: Sequence[str] = ()) -> tuple[Any, Any]:
    """The parameters that a new run begins with: the given random ones, with the configured weights in their place.

    Args:
      config: resolved.
      model: from `models.build`.
      params, model_state: from `models.init`.
      names: of the classes, by which the head of another run or of a folder is taken, see `heads.match`; (): the
        rows of a folder are taken in its order, and there is no run.

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
    if trained := origin.find(source):
        params, model_state = _from_origin(config, trained, params, model_state, whole=whole, names=names)
    else:
        file, random = models.read(config, source), {"params": params, "model_state": model_state}
        params, model_state = models.load(config, model, params, model_state, file, whole=whole)
        if theirs := _names_of(source) if whole and names else ():
            loaded = {"params": params, "model_state": model_state}
            sorted_rows = heads.by_name(config, random, loaded, names, theirs)
            params, model_state = sorted_rows["params"], sorted_rows["model_state"]
    _require_scales(config, source, model_state)
    return params, model_state


def _names_of(source: str) -> tuple[str, ...]:
    """The names of the classes in a folder of another library; () if it has none."""
    path = models.place(source)
    folder = models.folders.read(path) if models.folders.is_folder(path) else None
    return tuple(folder.names) if folder else ()


def _from_origin(
    config: Config,
    trained: origin.Origin,
    params: Any,
    model_state: Any,
    *,
    whole: bool,
    names: Sequence[str],
) -> tuple[Any, Any]:
    if (seeds := trained.config.train.seeds) > 1:
        raise WeightsError(
            f"{trained.name} holds {seeds} networks (train.seeds); a new one starts from one. Name another."
        )
    groups = ("model.",) if whole else ("model.encoder.",)
    changed = {
        key: values
        for key, values in differences(config, trained.config, free=(*origin.FREE, "model.encoder.norm")).items()
        if key.startswith(groups)
    }
    if changed:
        raise WeightsError(f"{trained.name} was trained with another network:\n{rows(changed)}\nUse its values.")
    ours = {"params": params, "model_state": model_state}
    theirs, classes = trained.read()
    head = heads.match(config, names, classes) if whole else None
    taken = random = 0

    def pick(path: Any, array: Any) -> Any:
        nonlocal taken, random
        name = trees.name(path)
        if not whole and "encoder" not in name.split("/")[1:3]:
            return array
        if name not in theirs:
            raise WeightsError(f"{trained.name} has no array {name}; it is of another network.")
        if head is not None and name in head.axes:
            fitting = head.take(name, array, theirs[name])
            if fitting is None or not len(head.ours):
                random += 1
                there = theirs[name].shape
                logging.warning("%s: %s there, %s here; starts from random values", name, there, array.shape)
                return array
            taken += 1
            return fitting
        if theirs[name].shape != array.shape:
            raise WeightsError(f"{name} is {theirs[name].shape} in {trained.name} and {array.shape} here.")
        taken += 1
        return np.asarray(theirs[name])

    loaded = jax.tree_util.tree_map_with_path(pick, ours)
    logging.info("%d arrays from %s, %d random", taken, trained.name, random)
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
