"""What it costs to count the IoU of the training batches: the step with its counts against the step without.

python -m benchmarks.counting [--only=RECIPE,...] [--steps=N] [--pairs=N] [--json=FILE]

Every recipe is compiled twice, once with a count that is 0 without looking at a pixel, and both take turns in one
process on the same batch. A pair is `--steps` steps of each, in alternating order. The difference is the median over
the pairs of (with - without) / with; half of the pairs lie between the quartiles. A machine that others use varies by
more than what is looked for. So each pair also times the count by itself, on logits of the same shape: `alone` is its
share of the step, median by median, with nothing else fused into it. On a CPU time is that of all threads of this
process; elsewhere it is the clock's. Photographs and logits are noise, and labels are drawn from all classes alike;
`--one_class` makes all of them 0, for which accelerators may need longer.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from seg_jax.runtime import process

if __name__ == "__main__":
    process.tune_malloc()

import jax
import jax.numpy as jnp
import numpy as np

from seg_jax import metrics
from seg_jax.config import Config, checked, recipe
from seg_jax.run import pretrained, program
from seg_jax.run.length import Length
from seg_jax.runtime import sharding

# Recipe -> (height, width) of its photographs, number of classes.
RECIPES: Mapping[str, tuple[tuple[int, int], int]] = {
    "synthetic_unet": ((96, 128), 8),
    "camvid_unet": ((360, 480), 11),
    "camvid_unet_mobilenetv2": ((360, 480), 11),
    "camvid_cpu": ((360, 480), 11),
    "camvid_fast": ((360, 480), 11),
}
WARM_UP = 2  # steps


def nothing(logits: jax.Array, label: jax.Array) -> jax.Array:
    """Zeros of the shape of `metrics.confusion_of_logits`."""
    del label
    return jnp.zeros((logits.shape[0], logits.shape[-1], logits.shape[-1]), jnp.int32)


def stepper(config: Config, size: tuple[int, int], classes: int, *, counted: bool, one_class: bool) -> Any:
    """A function (steps) -> seconds of the compiled and warm training step."""
    mesh = sharding.make_mesh(1)
    functions = program.Functions(config, classes=classes, mesh=mesh, length=Length(1000))
    count = metrics.confusion_of_logits if counted else nothing
    with mock.patch.object(metrics, "confusion_of_logits", count):
        step = functions.train_step(size).compile()
    rng, batch = np.random.default_rng(0), config.train.batch_size
    arrays = {
        "image": rng.integers(0, 256, (batch, *size, 3), np.uint8),
        "label": rng.integers(0, 1 if one_class else classes, (batch, *size), np.uint8),
    }
    placed, state = sharding.place(arrays, mesh), functions.init()

    def run(steps: int) -> float:
        nonlocal state
        begin = clock()
        for _ in range(steps):
            state, measured = step(state, placed, ())
        jax.block_until_ready((state, measured))
        return clock() - begin

    run(WARM_UP)
    return run


def counter(config: Config, size: tuple[int, int], classes: int, *, one_class: bool) -> Callable[[int], float]:
    """A function (times) -> seconds of the count alone, compiled and warm, at the size that the network sees."""
    crop = config.augment.crop if all(config.augment.crop) else size
    rng, shape = np.random.default_rng(0), (config.train.batch_size, *crop)
    logits = jax.device_put(rng.normal(size=(*shape, classes)).astype(np.float32))
    label = jax.device_put(rng.integers(0, 1 if one_class else classes, shape, np.uint8))
    count = jax.jit(lambda logits, label: metrics.of_confusion(metrics.confusion_of_logits(logits, label).sum(0)))

    def run(times: int) -> float:
        begin = clock()
        for _ in range(times):
            jax.block_until_ready(count(logits, label))
        return clock() - begin

    run(WARM_UP)
    return run


def clock() -> float:
    """Seconds: of the processor on a CPU, else of the clock."""
    return time.process_time() if jax.default_backend() == "cpu" else time.perf_counter()


def take_turns(
    counting: Callable[[int], float],
    without: Callable[[int], float],
    alone: Callable[[int], float],
    *,
    steps: int,
    pairs: int,
) -> list[tuple[float, float, float]]:
    """(with, without, alone) in seconds of each pair; the order alternates, since machines slow down."""
    turns = []
    for pair in range(pairs):
        if pair % 2:
            b, a = without(steps), counting(steps)
        else:
            a, b = counting(steps), without(steps)
        turns.append((a, b, alone(steps)))
    return turns


def shares(turns: Sequence[tuple[float, float, float]]) -> dict[str, Any]:
    """The difference of each pair relative to the step, its median and quartiles; the share of the count alone."""
    differences = [(a - b) / a for a, b, _ in turns]
    low, middle, high = statistics.quantiles(differences, n=4, method="inclusive")
    alone = statistics.median(c for *_, c in turns) / statistics.median(a for a, *_ in turns)
    return {"difference": middle, "quartiles": [low, high], "differences": differences, "alone": alone}


def measure(name: str, *, steps: int, pairs: int, one_class: bool) -> dict[str, Any]:
    """The row of a recipe: milliseconds of a step, and the share of its counts."""
    config = recipe(name)
    config.model.encoder.weights = config.model.weights = ""
    config = pretrained.resolve(checked(config))
    size, classes = RECIPES[name]
    runs = [stepper(config, size, classes, counted=counted, one_class=one_class) for counted in (True, False)]
    alone = counter(config, size, classes, one_class=one_class)
    turns = take_turns(runs[0], runs[1], alone, steps=steps, pairs=pairs)
    step = statistics.median(a for a, *_ in turns) / steps
    return {"name": name, "batch": config.train.batch_size, "ms": 1e3 * step, **shares(turns)}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(RECIPES), help="comma-separated recipes")
    parser.add_argument("--steps", type=int, default=4, help="steps of a turn")
    parser.add_argument("--pairs", type=int, default=8, help="turns of each program")
    parser.add_argument("--one_class", action="store_true", help="all labels are 0")
    parser.add_argument("--json", default="", help="file for the same figures")
    options = parser.parse_args()
    names = options.only.split(",")
    if unknown := sorted(set(names) - set(RECIPES)):
        parser.error(f"--only={','.join(unknown)}: the recipes are {', '.join(RECIPES)}")
    print(f"counts of the training batches on {jax.devices()[0].device_kind}, jax {jax.__version__}")
    print(f"{'recipe':<28}{'batch':>6}{'step ms':>10}{'alone':>9}{'difference':>12}{'quartiles':>20}")
    rows = []
    for name in names:
        rows.append(row := measure(name, steps=options.steps, pairs=options.pairs, one_class=options.one_class))
        quartiles = " to ".join(f"{value:.2%}" for value in row["quartiles"])
        figures = f"{row['ms']:>10.1f}{row['alone']:>9.2%}{row['difference']:>12.2%}{quartiles:>20}"
        print(f"{name:<28}{row['batch']:>6}{figures}", flush=True)
    if options.json:
        Path(options.json).write_text(json.dumps({"rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
