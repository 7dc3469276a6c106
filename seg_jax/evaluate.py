"""Evaluation: one pass over a split, every example exactly once -> Report."""

from __future__ import annotations

import logging
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np

from seg_jax import data, pretrained, process, program, report, sharding, viz
from seg_jax.checkpoint import Checkpoints
from seg_jax.config import Config, ConfigError, check_classes, differences, load
from seg_jax.data import feed, pipeline, sampler
from seg_jax.data.examples import Examples
from seg_jax.data.labels import LabelTable
from seg_jax.metrics import Report


class Evaluator:
    """Evaluates weights on one split; compiles when it is first called.

    Args:
      functions: of the run.
      examples: the split, checked.
    """

    def __init__(self, functions: program.Program, examples: Examples):
        self.examples = examples
        self._functions = functions
        self._config = functions.config

    @cached_property
    def _step(self) -> Any:
        return self._functions.eval_step(self.examples.size)

    def __call__(self, params: Any, model_state: Any, *, step: int) -> Report:
        """The report of `params` and `model_state` after training step `step`."""
        config, examples = self._config, self.examples
        objective = self._functions.objective
        k = len(examples.table)
        confusion, above = np.zeros((k, k), np.int64), np.zeros((3, k), np.int64)
        totals, weights = np.zeros((2, len(objective.weights)))
        order = sampler.evaluation_order(
            config.eval.batch_size,
            len(examples),
            pad=pipeline.PAD,
            process=jax.process_index(),
            processes=jax.process_count(),
        )
        for placed in feed.batches(examples, order, config.data, self._functions.mesh):
            counted = jax.device_get(self._step(params, model_state, placed, self._functions.teacher))
            confusion += counted["confusion"]
            above += counted.get("above", 0)
            totals += counted["totals"]
            weights += counted["weights"]
        height, width = examples.size
        protocol = {
            "step": step,
            "source": config.data.source,
            "split": examples.split,
            "images": len(examples),
            "left_out": left_out(examples),
            "height": height,
            "width": width,
            "resized": bool(all(config.data.size)),
            "ignored": "pixels with label 255; no class is left out",
            "loss": "weight times mean over the pixels of the split, summed; regions and hard pixels are of a batch",
            "loss_weights": dict(objective.weights),
            "miou": "mean over the classes that occur in truth or prediction, counted over the whole split",
        }
        threshold = config.eval.threshold
        return Report.from_confusion(
            confusion,
            examples.table.names,
            loss=float(objective.value(totals, weights)[0]),
            protocol=protocol,
            above=(threshold, above) if threshold else None,
        )

    def panels(self, params: Any, model_state: Any) -> list[np.ndarray]:
        """The same few examples every time, spread over the split: image | truth | prediction | error."""
        n, count = len(self.examples), self._config.eval.panels
        chosen = np.unique(np.linspace(0, n - 1, min(count, n)).round().astype(int))
        pictures = []
        for index in chosen:
            image, label = self.examples.read(int(index))
            probabilities = self._functions.predict(params, model_state, image[None])
            prediction = np.asarray(probabilities[0].argmax(-1)).astype(np.uint8)
            pictures.append(viz.panel(image, label, prediction, self.examples.table))
        return pictures


def left_out(examples: Examples) -> dict[str, list[dict[str, str]]]:
    """{split: the examples that could not be used, each with its name and the reason}, for the report."""
    return {examples.split: [{"name": bad.name, "why": bad.why} for bad in examples.bad]}


def evaluate_checkpoint(config: Config, workdir: Path, which: str) -> Report:
    """Evaluates a stored checkpoint on `config.data.val_split` and writes its report and pictures.

    Args:
      config: of the run; its data and evaluation fields may differ from the training's.
      workdir: a run directory.
      which: 'best', 'last' or a step.

    Returns:
      The report, which is also in `workdir/eval/SPLIT-STEP`.

    Raises:
      ConfigError: the network is another one than the run's, or the data has other classes.
      CheckpointError: there is no such checkpoint, or it is damaged.
    """
    recorded = load(workdir / "config.json")
    config = pretrained.resolve(config, recorded)
    mesh = program.configured_mesh(config)
    program.check(config, devices=sharding.batch_parts(mesh))
    weights_fields = ("model.weights", "model.encoder.weights")
    changed = {
        key: values
        for key, values in differences(config, recorded, free=weights_fields).items()
        if key.startswith(("model.", "data.mean", "data.std", "loss.head"))
    }
    if changed:
        rows = "\n".join(f"  config.{key}: now {now!r}, trained with {then!r}" for key, (now, then) in changed.items())
        raise ConfigError(f"{workdir} was trained with another network:\n{rows}\nUse the run's own values.")
    table = LabelTable.load(workdir / "class_names.json")
    split = config.data.val_split
    examples = data.load(config, split)
    if examples.table.names != table.names:
        raise ConfigError(
            f"the data has the classes {examples.table.names}, the run in {workdir} {table.names}; they must agree."
        )
    check_classes(config, classes=len(table))
    pretrained.check_teacher(config, table)
    examples = feed.prepare(examples, config.data, mesh, workdir=workdir)
    functions = program.Program(config, classes=len(table), mesh=mesh)
    checkpoints = Checkpoints(workdir / "checkpoints", create=False)
    step = checkpoints.choose(which)
    like = functions.abstract_state.weights(averaged=False)
    stored = checkpoints.weights(step, like, averaged=config.eval.averaged)
    weights = sharding.to_devices(stored, mesh)
    evaluator = Evaluator(functions, examples)
    result = evaluator(**weights, step=step)
    place = workdir / "eval" / f"{split}-{step}"
    panels = evaluator.panels(**weights)
    if not process.is_first():
        return result
    report.write(place, result, panels, examples.table)
    print(f"checkpoint of step {step} on {len(examples)} examples of {split!r}\n{result.table()}")
    logging.info("report and pictures: %s", place)
    return result
