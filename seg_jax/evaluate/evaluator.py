"""One pass over a split, every example exactly once -> Report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np

from seg_jax.config import Config, EvalConfig
from seg_jax.data import feed, pipeline, sampler
from seg_jax.data.examples import Examples
from seg_jax.data.labels.cityscapes import write_prediction
from seg_jax.evaluate import shapes
from seg_jax.evaluate.seen import Seen
from seg_jax.metrics import Images, Report, bootstrap, cityscapes, compat
from seg_jax.metrics.detailed import Counter
from seg_jax.run import cost, program
from seg_jax.runtime import process, sharding


class Evaluator:
    """Evaluates weights on one split; compiles when it is first called.

    Args:
      functions: the run's functions.
      examples: the split, checked.
    """

    def __init__(self, functions: program.Functions, examples: Examples):
        self.examples = examples
        self._functions = functions
        self._config = functions.config
        self._seen = Seen(functions, examples)

    @cached_property
    def _lowered(self) -> list[Any]:
        return [
            self._functions.eval_step(group.size, batch_size=group.batch_size, scored=group.scored)
            for group in self._seen.groups
        ]

    @cached_property
    def _steps(self) -> list[Any]:
        steps = [lowered.compile() for lowered in self._lowered]
        process.trim_memory()
        return steps

    @property
    def is_compiled(self) -> bool:
        """Whether the next call compiles nothing for whole images."""
        return "_steps" in vars(self)

    def compile(self) -> None:
        """Compiles the steps now instead of at the first call."""
        _ = self._steps

    @property
    def flops(self) -> float:
        """Floating-point operations for one image, the split's mean, as XLA counts them; NaN where it does not."""
        groups = zip(self._seen.groups, self._lowered, strict=True)
        counts = [cost.count_flops(step) / group.batch_size * len(group.indices) for group, step in groups]
        return sum(counts) / len(self.examples)

    def __call__(self, params: Any, model_state: Any, *, step: int, detailed: bool = False) -> Report:
        """The report of `params` and `model_state` after training step `step`.

        With `detailed` every image's probabilities are looked at on the host too, at `eval.resolution`; predictions for
        the evaluation server are written on the way. If they come from windows, then no network sees a whole image.
        """
        config, examples = self._config, self.examples
        objective = self._functions.objective
        n, threshold = len(examples), config.eval.threshold
        counter = Counter(examples.table.names, n, threshold=threshold) if detailed else None
        counted: dict[str, np.ndarray] = {}
        sections: dict[str, Any] = {}
        windowed = detailed and self._seen.windowed
        if counter is not None and windowed:
            for index in range(n):
                self._look(counter, index, *self._seen.windowed_bands((params, model_state), index))
        else:
            counted = self._count(params, model_state, counter)
        if counter is not None:
            counter.totals = sharding.sum_over_processes(counter.totals)
            sections = counter.figures()
        found = counter.totals if counter is not None else {}
        elsewhere = config.eval.resolution == "original" and not examples.sizes  # these are at their size anyway
        source = found if detailed and (elsewhere or refined(config.eval)) else counted
        confusion, images = source["confusion"], source["images"][:n]
        above = found["above_threshold"] if windowed else counted["above"]
        sections["compat"] = compat.figures(confusion, images, found.get("above"))
        if cityscapes.applies(examples.table.names):
            whole = found.get("with_instances", 0) == n
            known = found["instances"] if whole else None
            sections["compat"]["cityscapesScripts"] = cityscapes.figures(confusion, examples.table.names, known)
        if self._functions.members > 1:
            sections["seeds"] = by_seed(self._functions, examples, (params, model_state), step, detailed=windowed)
        return Report.from_confusion(
            confusion,
            examples.table.names,
            loss=math.nan if windowed else float(objective.value(counted["totals"], counted["weights"])[0]),
            protocol=protocol(config, examples, objective.weights, step=step, detailed=detailed, windowed=windowed),
            above=(threshold, above) if threshold else None,
            images=Images(examples.names, images),
            sections=sections,
        )

    def _count(self, params: Any, model_state: Any, counter: Counter | None) -> dict[str, np.ndarray]:
        """Sums of what `eval_step` gives for whole images, all on the way through the counter, if there is one."""
        examples = self.examples
        k, n = len(examples.table), len(examples)
        totals, weights = np.zeros((2, len(self._functions.objective.weights)))
        images = np.zeros((n, 3, k), np.int64)
        sums = {
            "confusion": np.zeros((k, k), np.int64),
            "above": np.zeros((3, k), np.int64),
            "totals": totals,
            "weights": weights,
        }
        processes, first = jax.process_count(), jax.process_index()
        for group, step in zip(self._seen.groups, self._steps, strict=True):
            size, mine = group.batch_size, group.batch_size // processes
            for i, placed in enumerate(self._batches(group)):
                counted = jax.device_get(step(params, model_state, placed, self._functions.teacher))
                indices = group.indices[i * size : (i + 1) * size]
                images[indices] = counted.pop("images")[: len(indices)]  # padding comes last
                for name, value in counted.items():
                    sums[name] += value
                if counter is not None:
                    seen = sharding.local_rows(self._seen.predict(rows=True)(params, model_state, placed["image"]))
                    labels = sharding.local_rows(placed["label"])
                    for row, index in enumerate(indices[first * mine : (first + 1) * mine]):
                        self._look(counter, index, *self._seen.scored(index, seen[row], labels[row]))
        return sums | {"images": images}

    def _batches(self, group: shapes.Group) -> Iterator[feed.Batch]:
        """The batches of the photographs of one shape, each once, in their order."""
        orders = sampler.evaluation_order(
            group.batch_size,
            len(group.indices),
            pad=pipeline.PAD,
            process=jax.process_index(),
            processes=jax.process_count(),
        )
        chosen = (np.where(order == pipeline.PAD, order, group.indices[order]) for order in orders)
        return feed.batches(self.examples, chosen, self._config.data, self._functions.mesh, fit=group.fit)

    def _look(self, counter: Counter, index: int, label: np.ndarray, bands: Iterable[np.ndarray]) -> None:
        """Counts one image in detail, and writes its prediction where that is wanted."""
        config, examples = self._config, self.examples
        instances = None
        if examples.instances is not None and cityscapes.applies(examples.table.names):
            instances = examples.instances(index)
            if instances.shape != label.shape:  # sizes of instances mean something at their own resolution only
                instances = None
        prediction = counter.add(index, bands, label, instances)
        if config.eval.submission:
            place = Path(config.eval.submission).expanduser()
            write_prediction(place, examples.names[index], prediction, examples.table)

    def panels(
        self, params: Any, model_state: Any, chosen: Sequence[int] | None = None, *, detailed: bool = False
    ) -> dict[int, np.ndarray]:
        """{index: image | truth | prediction | error} of some examples; by default a few, spread over the split.

        With `detailed` predictions come from windows, where `eval.window` asks for them.
        """
        n, count = len(self.examples), self._config.eval.panels
        if chosen is None:
            chosen = sampler.spread(n, count)
        weights = (params, model_state)
        return {index: self._seen.panel(weights, index, windowed=detailed and self._seen.windowed) for index in chosen}


def protocol(
    config: Config,
    examples: Examples,
    loss_weights: Mapping[str, float],
    *,
    step: int,
    detailed: bool,
    windowed: bool,
) -> dict[str, Any]:
    """The way in which a split is scored, JSON values: scores of two runs compare where it is the same.

    Args:
      config: the run's configuration.
      examples: the split.
      loss_weights: {name: weight} of the losses.
      step: the number of training steps.
      detailed, windowed: see `Evaluator`.
    """
    height, width = examples.size
    resolution = "original" if examples.sizes else config.eval.resolution if detailed else "network"
    return {
        "step": step,
        "source": config.data.source,
        "split": examples.split,
        "images": len(examples),
        "resolution": resolution,
        **({"sizes": examples.described_size, "short_side": config.data.short_side} if examples.sizes else {}),
        **(refined(config.eval) if detailed else {}),
        "left_out": left_out(examples),
        "height": height,
        "width": width,
        "resized": bool(all(config.data.size)),
        "ignored": f"pixels with label {examples.table.ignored}; no class is left out",
        "loss": "none: it is of whole images, the network saw windows"
        if windowed
        else "weight times mean over the pixels of the split, summed; regions and hard pixels are of a batch",
        "loss_weights": dict(loss_weights),
        "miou": "mean over the classes that occur in truth or prediction, counted over the whole split",
    }


def by_seed(
    functions: program.Functions, examples: Examples, weights: tuple[Any, Any], step: int, *, detailed: bool
) -> dict[str, Any]:
    """The scores of each member of an ensemble alone, their mean and deviation, JSON values.

    Args:
      functions: the run's functions, of several members.
      examples: the split.
      weights: (params, model_state) with the members as leading axis.
      step: the number of training steps.
      detailed: see `Evaluator`.
    """
    alone = Evaluator(functions.alone(), examples)
    reports = [
        alone(*jax.tree.map(lambda array, i=i: array[i], weights), step=step, detailed=detailed)
        for i in range(functions.members)
    ]
    result: dict[str, Any] = {"seeds": [functions.config.seed + i for i in range(functions.members)]}
    for name in ("miou", "pixel_accuracy"):
        values = [report.scores[name] for report in reports]
        result[name] = {"values": values, "mean": np.mean(values), "deviation": np.std(values, ddof=1)}
    result["miou"]["interval"] = bootstrap.interval_of_mean([r.images.counts for r in reports if r.images])
    return result


def refined(options: EvalConfig) -> dict[str, Any]:
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
