"""The learning-rate range test (Smith 2017): the loss while the rate grows from step to step."""

from __future__ import annotations

import json
import math
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from seg_jax import viz
from seg_jax.config import Config, with_fields
from seg_jax.run.directory import RunDirectory
from seg_jax.run.opening import open_job
from seg_jax.runtime import sharding
from seg_jax.runtime.files import write_bytes
from seg_jax.train.stream import Stream

STEPS = 100
SPAN = 1e6  # the last rate divided by the first one; config.optim.lr is in the middle
SMOOTHING = 0.9  # of the exponential average of the loss
DIVERGED = 4.0  # times the lowest smoothed loss: there is nothing to learn beyond


def lr_range(config: Config, workdir: Path) -> dict[str, Any]:
    """Trains for up to 100 steps at rates from optim.lr / 1000 to optim.lr * 1000, ending where the loss diverges.

    Only `lr_range.json` and `lr_range.png` are written to `workdir`, and a note of which files were checked.

    Returns:
      {'lr', 'loss', 'smoothed': a number for each step; 'suggestion': the rate at which the smoothed loss falls fastest
      against the logarithm of the rate, or None if it never falls}.

    Raises:
      ConfigError, DataError, LabelError: as for training.
    """
    once = {"train.seeds": 1, "train.nonfinite": "stop", "optim.schedule": "constant", "optim.warmup_steps": 0}
    config = with_fields(config, once)
    run = RunDirectory(workdir)
    job = open_job(config, [config.data.train_split], run=run, training=True)
    config, mesh, functions, stream = job.config, job.mesh, job.functions, Stream(job, start=0, stop=STEPS)
    state, train_step = functions.init(), stream.train_step(frozen=config.finetune.freeze).compile()
    factors = np.geomspace(SPAN**-0.5, SPAN**0.5, STEPS)
    losses: list[float] = []
    with closing(stream.batches()) as batches:
        for factor, batch in zip(tqdm(factors, desc="rates", file=sys.stderr), batches, strict=True):
            state = replace(state, lr_scale=sharding.to_devices(np.float32(factor), mesh))
            state, metrics = train_step(state, batch, functions.teacher)
            losses.append(float(metrics["loss"]))
            curve = smoothed(losses)
            if not math.isfinite(losses[-1]) or curve[-1] > DIVERGED * min(curve):
                losses.pop()
                break
    rates = (config.optim.lr * factors[: len(losses)]).tolist()
    result = {
        "lr": rates,
        "loss": losses,
        "smoothed": smoothed(losses),
        "suggestion": steepest(rates, smoothed(losses)),
    }
    if jax.process_index() == 0:
        write_bytes(run.rates_file, (json.dumps(result, indent=1) + "\n").encode())
        write_bytes(run.rates_picture, viz.rates(rates, losses, result["smoothed"], result["suggestion"]))
    return result


def smoothed(losses: list[float]) -> list[float]:
    """The exponential average up to every step, divided by the sum of its weights."""
    average, curve = 0.0, []
    for step, loss in enumerate(losses, start=1):
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        curve.append(average / (1 - SMOOTHING**step))
    return curve


def steepest(rates: list[float], curve: list[float]) -> float | None:
    """The rate where `curve` falls fastest per unit of log rate, before its minimum; None where it does not fall."""
    end = int(np.argmin(curve)) + 1 if curve else 0
    if end < 3:
        return None
    slopes = np.gradient(curve[:end], np.log(rates[:end]))
    return rates[int(slopes.argmin())] if slopes.min() < 0 else None
