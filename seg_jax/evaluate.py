"""Evaluation: one pass over a split, every example exactly once -> Report."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np

from seg_jax import data, pretrained, process, program, report, sharding, viz, windows
from seg_jax.checkpoint import Checkpoints
from seg_jax.config import Config, ConfigError, check_classes, differences, load
from seg_jax.data import cityscapes_labels, feed, pipeline, sampler
from seg_jax.data.examples import Examples
from seg_jax.data.images import resize_probabilities
from seg_jax.data.labels import LabelTable
from seg_jax.metrics import Images, Report, bootstrap, cityscapes, compat, words
from seg_jax.metrics.detailed import Counter


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

    @property
    def flops(self) -> float:
        """Floating-point operations for one image, as XLA counts them; NaN where it does not."""
        return program.count_flops(self._step) * self._functions.mesh.size / self._config.eval.batch_size

    def __call__(self, params: Any, model_state: Any, *, step: int, detailed: bool = False) -> Report:
        """The report of `params` and `model_state` after training step `step`.

        With `detailed` every image's probabilities are looked at on the host too, at `eval.resolution`; predictions for
        the evaluation server are written on the way.
        """
        config, examples = self._config, self.examples
        objective = self._functions.objective
        k, n, size = len(examples.table), len(examples), config.eval.batch_size
        counter = Counter(examples.table.names, n) if detailed else None
        confusion, above = np.zeros((k, k), np.int64), np.zeros((3, k), np.int64)
        images = np.zeros((-(-n // size) * size, 3, k), np.int64)
        totals, weights = np.zeros((2, len(objective.weights)))
        order = sampler.evaluation_order(
            size,
            n,
            pad=pipeline.PAD,
            process=jax.process_index(),
            processes=jax.process_count(),
        )
        for i, placed in enumerate(feed.batches(examples, order, config.data, self._functions.mesh)):
            counted = jax.device_get(self._step(params, model_state, placed, self._functions.teacher))
            confusion += counted["confusion"]
            images[i * size : (i + 1) * size] = counted["images"]  # padding comes last
            above += counted.get("above", 0)
            totals += counted["totals"]
            weights += counted["weights"]
            if counter is not None:
                first = i * size + jax.process_index() * (size // jax.process_count())
                labels = sharding.local_rows(placed["label"])
                if any(config.eval.window):
                    seen: Iterable[np.ndarray] = self._slid(
                        params, model_state, first, sharding.local_rows(placed["image"])
                    )
                else:
                    seen = sharding.local_rows(self._functions.predict_rows(params, model_state, placed["image"]))
                for index, label, p in zip(range(first, n), labels, seen, strict=False):
                    self._look(counter, index, p, label)
        sections: dict[str, Any] = {}
        if counter is not None:
            counter.totals = sharding.sum_over_processes(counter.totals)
            sections = counter.figures()
            if config.eval.resolution == "original" or _refined(config.eval):
                confusion, images = counter.totals["confusion"], counter.totals["images"]
        images = images[:n]
        found = counter.totals if counter is not None else {}
        sections["compat"] = compat.figures(confusion, images, found.get("above"))
        if cityscapes.applies(examples.table.names):
            whole = found.get("with_instances", 0) == n
            known = found["instances"] if whole else None
            sections["compat"]["cityscapesScripts"] = cityscapes.figures(confusion, examples.table.names, known)
        height, width = examples.size
        protocol = {
            "step": step,
            "source": config.data.source,
            "split": examples.split,
            "images": n,
            "resolution": config.eval.resolution if detailed else "network",
            **(_refined(config.eval) if detailed else {}),
            "left_out": left_out(examples),
            "height": height,
            "width": width,
            "resized": bool(all(config.data.size)),
            "ignored": "pixels with label 255; no class is left out",
            "loss": "weight times mean over the pixels of the split, summed; regions and hard pixels are of a batch",
            "loss_weights": dict(objective.weights),
            "miou": "mean over the classes that occur in truth or prediction, counted over the whole split",
        }
        if self._functions.members > 1:
            sections["seeds"] = self._by_seed(params, model_state, step)
        threshold = config.eval.threshold
        return Report.from_confusion(
            confusion,
            examples.table.names,
            loss=float(objective.value(totals, weights)[0]),
            protocol=protocol,
            above=(threshold, above) if threshold else None,
            images=Images(examples.names, images),
            sections=sections,
        )

    def _slid(self, params: Any, model_state: Any, first: int, images: np.ndarray) -> Iterator[np.ndarray]:
        """The probabilities of images in windows, at the size of the photographs if that is what counts."""
        config = self._config
        for index, image in enumerate(images, start=first):
            if config.eval.resolution == "original":
                image, _ = self.examples.original(index)
            bands = windows.slide(
                lambda tiles: np.asarray(self._functions.predict_windows(params, model_state, tiles)),
                image,
                window=tuple(config.eval.window),
                overlap=config.eval.overlap,
                batch=1 if jax.default_backend() == "cpu" else config.eval.batch_size,
            )
            yield np.concatenate([probabilities for _, probabilities in bands])

    @cached_property
    def _alone(self) -> Evaluator:
        return Evaluator(self._functions.alone(), self.examples)

    def _by_seed(self, params: Any, model_state: Any, step: int) -> dict[str, Any]:
        """How much the scores of the members differ, each by itself."""
        members = range(self._functions.members)
        reports = [
            self._alone(*jax.tree.map(lambda array, i=i: array[i], (params, model_state)), step=step) for i in members
        ]
        found: dict[str, Any] = {"seeds": [self._config.seed + i for i in members]}
        for name in ("miou", "pixel_accuracy"):
            values = [report.scores[name] for report in reports]
            found[name] = {"values": values, "mean": np.mean(values), "deviation": np.std(values, ddof=1)}
        found["miou"]["interval"] = bootstrap.interval_of_mean([r.images.counts for r in reports if r.images])
        return found

    def _look(self, counter: Counter, index: int, probabilities: np.ndarray, label: np.ndarray) -> None:
        """Counts one image in detail, and writes its prediction where that is wanted."""
        config, examples = self._config, self.examples
        if config.eval.resolution == "original":
            _, label = examples.original(index)
            probabilities = resize_probabilities(probabilities, (label.shape[0], label.shape[1]))
        instances = None
        if examples.instances is not None and cityscapes.applies(examples.table.names):
            instances = examples.instances(index)
            if instances.shape != label.shape:  # sizes of instances mean something at their own resolution only
                instances = None
        prediction = counter.add(index, probabilities, label, instances)
        if config.eval.submission:
            place = Path(config.eval.submission).expanduser()
            cityscapes_labels.write_prediction(place, examples.names[index], prediction, examples.table)

    def panels(self, params: Any, model_state: Any, chosen: Sequence[int] | None = None) -> dict[int, np.ndarray]:
        """{index: image | truth | prediction | error} of some examples; by default a few, spread over the split."""
        n, count = len(self.examples), self._config.eval.panels
        if chosen is None:
            chosen = np.unique(np.linspace(0, n - 1, min(count, n)).round().astype(int)).tolist()
        pictures = {}
        for index in chosen:
            image, label = self.examples.read(index)
            probabilities = self._functions.predict(params, model_state, image[None])
            prediction = np.asarray(probabilities[0].argmax(-1)).astype(np.uint8)
            pictures[index] = viz.panel(image, label, prediction, self.examples.table)
        return pictures


def _refined(options: Config) -> dict[str, Any]:
    """What the fields of `eval` change in how the network is applied, for the protocol."""
    found: dict[str, Any] = {"flip": True} if options.flip else {}
    if tuple(options.scales) != (1.0,):
        found["scales"] = list(options.scales)
    if any(options.window):
        found |= {"window": list(options.window), "overlap": options.overlap}
    return found


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
      The report, which is also in `workdir/eval/SPLIT-STEP`, or SPLIT-STEP-original-flip-scales-window as asked.

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
    if any(config.eval.window) and jax.process_count() > 1:
        raise ConfigError("config.eval.window: windows slide in one process only. Evaluate in one, or use (0, 0).")
    pretrained.check_teacher(config, table)
    examples = feed.prepare(examples, config.data, mesh, workdir=workdir)
    functions = program.Program(config, classes=len(table), mesh=mesh)
    checkpoints = Checkpoints(workdir / "checkpoints", create=False)
    step = checkpoints.choose(which)
    like = functions.abstract_state.weights(averaged=False)
    stored = checkpoints.weights(step, like, averaged=config.eval.averaged)
    weights = sharding.to_devices(stored, mesh)
    evaluator = Evaluator(functions, examples)
    result = evaluator(**weights, step=step, detailed=True)
    # Another way of applying the network is another result.
    original = ("original",) if config.eval.resolution == "original" else ()
    kinds = (split, str(step), *original, *(kind for kind in _refined(config.eval) if kind != "overlap"))
    place = workdir / "eval" / "-".join(kinds)
    panels = evaluator.panels(**weights)
    assert result.images is not None
    worst = evaluator.panels(**weights, chosen=result.images.worst()[: config.eval.panels])
    if not process.is_first():
        return result
    report.write(place, result, panels, examples.table, worst=worst)
    print(f"checkpoint of step {step} on {len(examples)} examples of {split!r}\n{result.table()}")
    print("\n".join(words.describe(result)))
    logging.info("report and pictures: %s", place)
    return result
