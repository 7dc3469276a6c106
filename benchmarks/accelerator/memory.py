"""Memory: a training step with many classes, and evaluation of a large photograph as a whole and in windows.

Bytes are those that XLA plans for a program, parameters included. A training step of 150 classes at 512x512 looks at
all logits at once, and at one example after the other, as `seg_jax/steps/look.py` chooses by their size. A photograph
of 1024x2048 is evaluated by one program of that size, or passes in overlapping windows of 512x512, four of which are
one call; their probabilities are put together on the host, whose time is in the seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import numpy as np

from benchmarks import cases, classes
from benchmarks.accelerator.record import Recorder
from seg_jax.predict import windows
from seg_jax.run import cost, pretrained, program
from seg_jax.runtime import sharding

CLASSES, BATCH, SIDE = 150, 8, 512
NETWORK, LARGE, WINDOW, OVERLAP, WINDOWS = "unet_resnet34", (1024, 2048), (512, 512), 0.25, 4
TINY_SIDE, TINY_LARGE, TINY_WINDOW = 32, (64, 96), (32, 32)
REPEATS = 3
NEEDS = 30.0  # seconds of a case: its programs are compiled


def best(run: Callable[[], Any]) -> float:
    """Seconds of the fastest call, after one to warm up."""
    times = []
    for _ in range(1 + REPEATS):
        begin = time.perf_counter()
        jax.block_until_ready(run())
        times.append(time.perf_counter() - begin)
    return min(times[1:])


def many_classes(result: dict[str, Any], way: str, *, tiny: bool) -> None:
    """A training step with `CLASSES` classes in one of the two ways."""
    batch, side, network = (2, TINY_SIDE, classes.TRIAL) if tiny else (BATCH, SIDE, None)
    step = classes.Step(CLASSES, batch=batch, side=side, large=classes.WAYS[way], network=network)
    result |= {"planned_bytes": step.peak_bytes, "seconds_of_call": best(step.run)}


def evaluation(result: dict[str, Any], *, whole: bool, tiny: bool) -> None:
    """One photograph, as a whole or in windows."""
    size, window = (TINY_LARGE, TINY_WINDOW) if tiny else (LARGE, WINDOW)
    config = cases.configuration(cases.TOY if tiny else cases.CASES[NETWORK], batch=1)
    functions = program.Functions(pretrained.resolve(config), classes=cases.CLASSES, mesh=sharding.make_mesh(1))
    state, rng = functions.init(), np.random.default_rng(0)
    image = rng.integers(0, 256, (*size, 3), np.uint8)
    if whole:
        step = functions.eval_step(size, batch_size=1).compile()
        arrays = {"image": image[None], "label": rng.integers(0, cases.CLASSES, (1, *size), np.uint8)}
        batch = sharding.place(arrays, functions.mesh)
        result["planned_bytes"] = cost.peak_memory(step)
        result["seconds_of_call"] = best(lambda: step(state.params, state.model_state, batch, ()))
        return
    tiles = jax.ShapeDtypeStruct((WINDOWS, *window, 3), np.uint8)
    predict = functions.predict().lower(state.params, state.model_state, tiles).compile()

    def slide() -> None:
        engine = lambda tiles: np.asarray(predict(state.params, state.model_state, tiles))  # noqa: E731
        for _ in windows.slide(engine, image, window=window, overlap=OVERLAP, batch=WINDOWS):
            pass

    result |= {"planned_bytes": cost.peak_memory(predict), "seconds_of_call": best(slide)}


def run(recorder: Recorder, options: Mapping[str, Any]) -> None:
    """The step: two cases for each of the two."""
    tiny = options["tiny"]
    works: dict[str, Callable[[dict[str, Any]], None]] = {
        f"{CLASSES} classes, {way}": partial(many_classes, way=way, tiny=tiny) for way in classes.WAYS
    }
    works |= {
        f"evaluation, {name}": partial(evaluation, whole=whole, tiny=tiny)
        for name, whole in (("whole", True), ("in windows", False))
    }
    for name in recorder.plan(list(works)):
        recorder.case(name, works[name], needs=1.0 if tiny else NEEDS)
