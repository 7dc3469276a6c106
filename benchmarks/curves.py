"""Seconds and bytes of a training step against the side of the images, their number, and the number of classes.

python -m benchmarks.curves [--sides=64,128,256,512] [--batches=1,2,4,8] [--classes=2,19,150] [--steps=N]

A U-Net with a plain encoder of width 16 and random weights, on one random batch that is on the device; one of the three
varies, the others are 128x128 pixels, 4 images, 19 classes. Bytes are those that XLA plans, parameters and optimizer
included; seconds are the best of all steps. `growth` is the exponent between a row and the one before: 1 is linear in
the pixels, images or classes. The table is Markdown, for docs/scaling.md.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from typing import Any

from seg_jax.runtime import process

if __name__ == "__main__":
    process.tune_malloc()

import jax

from benchmarks.classes import Step
from seg_jax.steps import look

NETWORK: dict[str, Any] = {"model.name": "unet", "model.encoder.name": "plain", "model.encoder.width": 16}
BASE = {"side": 128, "batch": 4, "classes": 19}
HEAD = ("varied", "side", "images", "classes", "seconds", "growth", "MiB", "growth")


def growth(amounts: Sequence[float], costs: Sequence[float]) -> float:
    """The exponent p with which cost ~ amount**p between two points."""
    return math.log(costs[1] / costs[0]) / math.log(amounts[1] / amounts[0])


def curve(name: str, values: Sequence[int], *, steps: int) -> Iterator[list[str]]:
    """The rows of the table for one of `BASE`."""
    before: tuple[int, float, float] | None = None
    for value in values:
        point = BASE | {name: value}
        step = Step(point["classes"], batch=point["batch"], side=point["side"], large=look.LARGE, network=NETWORK)
        step.run()
        seconds, size = min(step.run() for _ in range(steps)), step.peak_bytes
        amount = value**2 if name == "side" else value
        exponents = ["-", "-"]
        if before:
            exponents = [
                f"{growth((before[0], amount), pair):.2f}" for pair in ((before[1], seconds), (before[2], size))
            ]
        before = amount, seconds, size
        numbers = [str(point[key]) for key in ("side", "batch", "classes")]
        yield [name, *numbers, f"{seconds:.3f}", exponents[0], f"{size / 2**20:,.1f}", exponents[1]]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", default="64,128,256,512", help="of square images; %(default)s")
    parser.add_argument("--batches", default="1,2,4,8", help="numbers of images; %(default)s")
    parser.add_argument("--classes", default="2,19,150", help="numbers of classes; %(default)s")
    parser.add_argument("--steps", type=int, default=5, help="of each point, after one to warm up; %(default)s")
    options = parser.parse_args()
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}\n")
    for cells in (HEAD, ("---",) * len(HEAD)):
        print(f"| {' | '.join(cells)} |")
    for name, text in (("side", options.sides), ("batch", options.batches), ("classes", options.classes)):
        for row in curve(name, [int(value) for value in text.split(",")], steps=options.steps):
            print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
