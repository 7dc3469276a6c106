"""Memory and time of a training step by the number of classes: all logits at once, and one example after the other.

python -m benchmarks.classes [--classes=19,150,1000] [--batch=N] [--side=N] [--steps=N] [--plot=FILE.png]

DeepLabV3+ on MobileNetV2 with random weights and one random batch that is on the device. Memory is what XLA plans for
the step, parameters and optimizer included. Time is the best of `--steps` steps, in turns; '-' where the plan needs
more than half of the machine's memory. `seg_jax/steps/look.py` chooses between the two by the size of the logits.
--plot draws the memory.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from seg_jax.runtime import process

if __name__ == "__main__":
    process.tune_malloc()

import jax
import numpy as np

from benchmarks.table import Row
from seg_jax.config import default
from seg_jax.data.labels.ids import label_type
from seg_jax.run import cost, pretrained, program
from seg_jax.runtime import sharding
from seg_jax.steps import look

NETWORK = {"model.name": "deeplabv3plus", "model.encoder.name": "mobilenetv2"}
TRIAL = {"model.encoder.width": 4, "model.encoder.depth": 1}
WAYS = {"at once": 2**60, "one by one": 0}  # bytes of logits from which on examples are looked at one by one


class Step:
    """A compiled training step with its state and batch; `fits` says whether it may be run."""

    def __init__(self, classes: int, *, batch: int, side: int, large: int, network: Mapping[str, Any] | None = None):
        config = default.get_config()
        config.update_from_flattened_dict({**(network or NETWORK), "train.batch_size": batch})
        functions = program.Functions(pretrained.resolve(config), classes=classes, mesh=sharding.make_mesh(1))
        look.LARGE = large
        self._step = functions.train_step((side, side)).compile()
        self.peak_bytes = cost.peak_memory(self._step)
        self.fits = 2 * self.peak_bytes < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        rng = np.random.default_rng(0)
        arrays: dict[str, Any] = {
            "image": rng.integers(0, 256, (batch, side, side, 3), np.uint8),
            "label": rng.integers(0, classes, (batch, side, side), label_type(classes)),
        }
        self._batch = sharding.place(arrays, functions.mesh)
        self._state = functions.init()

    def run(self) -> float:
        """Seconds of a step."""
        begin = time.perf_counter()
        self._state, metrics = self._step(self._state, self._batch, ())
        jax.block_until_ready((self._state, metrics))
        return time.perf_counter() - begin


def rows(*, quick: bool = False) -> Iterator[Row]:
    """MiB that a step with 150 classes needs by its plan; `quick` is a trial with a tiny network."""
    batch, side, network = (2, 32, TRIAL) if quick else (4, 512, NETWORK)
    at_once, one_by_one = (
        Step(150, batch=batch, side=side, large=large, network=network).peak_bytes / 2**20 for large in WAYS.values()
    )
    yield Row("classes", f"150 classes, {side}x{side}", one_by_one, at_once, "all logits at once", "MiB")


def plot(path: Path, classes: Sequence[int], memory: Mapping[str, Sequence[float]], *, title: str) -> None:
    """Draws the memory.

    Args:
      path: of the picture.
      classes: numbers of classes.
      memory: for each of `WAYS`, GiB by the number of classes.
      title: what was measured.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 3.2), layout="constrained")
    axes = figure.add_subplot()
    for name, values in memory.items():
        axes.plot(classes, values, marker="o", label=name)
    axes.set(xscale="log", xlabel="classes", ylabel="memory of a step, GiB", title=title, ylim=(0, None))
    axes.set_xticks(classes, [f"{n:,d}" for n in classes])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(title="logits")
    figure.savefig(path)


def main() -> None:
    """Prints a line for each number of classes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", default="19,150,1000", help="numbers of classes; %(default)s")
    parser.add_argument("--batch", type=int, default=8, help="images; %(default)s")
    parser.add_argument("--side", type=int, default=512, help="height and width; %(default)s")
    parser.add_argument("--steps", type=int, default=3, help="steps of each, after one to warm up; %(default)s")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="a picture of the memory")
    options = parser.parse_args()
    title = f"{options.batch} images of {options.side}x{options.side}, {jax.default_backend()}, jax {jax.__version__}"
    print(title)
    print(f"{'classes':>8}" + "".join(f"{f'{way}, GiB':>18}{'s a step':>10}" for way in WAYS))
    numbers = [int(text) for text in options.classes.split(",")]
    memory: dict[str, list[float]] = {way: [] for way in WAYS}
    for classes in numbers:
        steps = [Step(classes, batch=options.batch, side=options.side, large=large) for large in WAYS.values()]
        turns = [[step.run() if step.fits else None for step in steps] for _ in range(options.steps + 1)][1:]
        text = f"{classes:>8}"
        for way, step, times in zip(WAYS, steps, zip(*turns, strict=True), strict=True):
            memory[way].append(step.peak_bytes / 2**30)
            best = f"{min(times):.1f}" if step.fits else "-"
            text += f"{memory[way][-1]:>18.2f}{best:>10}"
        print(text, flush=True)
    if options.plot:
        plot(options.plot, numbers, memory, title=title)


if __name__ == "__main__":
    main()
