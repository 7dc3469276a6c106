"""The network of a run directory, ready for prediction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from seg_jax import models
from seg_jax.config import Config, Size
from seg_jax.data.depth import Depth
from seg_jax.data.labels import LabelTable
from seg_jax.predict import runtimes
from seg_jax.predict.windows import Engine
from seg_jax.run.directory import RunDirectory
from seg_jax.runtime.documents import fitting, number
from seg_jax.steps.predict import build


@dataclass(frozen=True)
class Restored:
    """A trained network.

    Attributes:
      engine: [n h w c] in 0..255 -> class probabilities, float32 [n h w k].
      table: what the classes mean.
      image_size: (height, width) at which it was evaluated; None: photographs at their own scale.
      short_side: the training's `data.short_side`.
      identity: checksum of the checkpoint; both runtimes give the same masks.
      card: what is known of the network, for people.
      depth: bands and range of its photographs.
    """

    engine: Engine
    table: LabelTable
    image_size: Size | None
    short_side: int
    identity: str
    card: dict[str, Any]
    depth: Depth


def load(
    run: RunDirectory,
    *,
    checkpoint: str,
    flip: bool = False,
    scales: tuple[float, ...] = (1.0,),
    runtime: str = "auto",
) -> Restored:
    """The network of a run; see `seg_jax.predict.predictor.Predictor.load`."""
    config, checkpoints = run.config(), run.checkpoints()
    step = checkpoints.choose(checkpoint)
    meta = checkpoints.meta(step)
    table, size = run.trained(config, meta)
    artefact = runtimes.exported(
        run,
        digest=f"{meta['sha256'][:16]}{'' if config.eval.averaged else '-last'}",
        runtime=runtime,
        step=step,
        plain=not flip and scales == (1.0,),
    )
    if artefact is None:
        compute, parameters = _jitted(run, config, step, classes=len(table), flip=flip, scales=scales)
    else:
        compute, parameters = artefact, artefact.metadata["parameters"]

    card = {
        "architecture": config.model.name,
        "encoder": config.model.encoder.name,
        "parameters": f"{parameters:,}",
        "trained at": f"{size[0]}x{size[1]}" if size else "the scale of each photograph",
        "step": step,
        "computed by": "JAX" if artefact is None else "ONNX Runtime",
        **_scores(run, step),
    }
    identity = f"{meta['sha256']} {flip} {scales}"
    depth, short_side = Depth.of(config.data), config.data.short_side
    return Restored(compute, table, size, short_side, identity=identity, card=card, depth=depth)


def _jitted(
    run: RunDirectory, config: Config, step: int, *, classes: int, flip: bool, scales: tuple[float, ...]
) -> tuple[Engine, int]:
    """(the network by JAX, compiled for each shape; number of its parameters)."""
    checkpoints = run.checkpoints()
    model = models.together(config, models.build(config, classes=classes))
    # Their structure is in their names: tracing the network for it would take a third of the time to the first mask.
    weights = jax.device_put(_nested(checkpoints.arrays(step, averaged=config.eval.averaged)))
    predict = jax.jit(build(config, model=model, flip=flip, scales=scales))

    def compute(images: np.ndarray) -> np.ndarray:
        try:
            return np.asarray(predict(weights["params"], weights["model_state"], images))
        except Exception:
            # Says so if the weights are not those of the network that the configuration describes.
            from seg_jax.run import program
            from seg_jax.runtime import sharding

            functions = program.Functions(config, classes=classes, mesh=sharding.make_mesh(1))
            checkpoints.weights(step, functions.abstract_state.weights(averaged=False), averaged=config.eval.averaged)
            raise

    return compute, models.count(weights["params"])


def _nested(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """{'params/encoder/kernel': array} -> {'params': {'encoder': {'kernel': array}}, 'model_state': ...}."""
    tree: dict[str, Any] = {"params": {}, "model_state": {}}
    for name, array in arrays.items():
        *groups, last = name.split("/")
        branch = tree
        for group in groups:
            branch = branch.setdefault(group, {})
        branch[last] = array
    return tree


def _scores(run: RunDirectory, step: int) -> dict[str, Any]:
    """The scores of the report that training wrote, if it is of this step."""
    form = {
        "protocol": {"step": int, "split": str},
        "scores": {"miou": (number, None), "pixel_accuracy": (number, None)},
    }
    try:
        report = fitting(run.report.report.read_bytes(), form)
    except OSError:
        return {}
    if not report or report["protocol"]["step"] != step:
        return {}
    split, scores = report["protocol"]["split"], report["scores"]
    names = {"mIoU": "miou", "pixel accuracy": "pixel_accuracy"}
    return {f"{name} on {split}": round(scores[key], 4) for name, key in names.items() if scores[key] is not None}
