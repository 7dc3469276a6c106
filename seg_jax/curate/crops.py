"""Training crops as the network sees them, from the batches of a training's first steps."""

from __future__ import annotations

import math
import tempfile
from contextlib import closing

import jax
import numpy as np

from seg_jax import augment
from seg_jax.augment import keys
from seg_jax.config import Config, with_fields
from seg_jax.data import sampler
from seg_jax.data.examples import Pair
from seg_jax.data.images import pictured
from seg_jax.run.directory import RunDirectory
from seg_jax.run.opening import equal, open_job
from seg_jax.train.stream import Stream

CROPS = 24


def crops(config: Config) -> list[tuple[str, Pair]]:
    """(name of the photograph, (image uint8 [h w 3], label [h w])) of the first `CROPS` examples of a training.

    They are augmented, but not normalised. Examples that cannot be used are left out, as `data.skip_bad` does.

    Raises:
      ConfigError, DataError, LabelError, WeightsError: what also stops the training.
    """
    config = with_fields(config, {"data.skip_bad": True, "data.cache": "none", "train.seeds": 1})
    with tempfile.TemporaryDirectory() as place:
        job = open_job(config, (config.data.train_split,), run=RunDirectory(place), weigh=equal)
    config, examples = job.config, job.splits[0]
    size = config.train.batch_size
    steps = math.ceil(CROPS / size)
    change = jax.jit(augment.build(config.augment, mean=tuple(config.data.mean), groups=1, finish=lambda image: image))
    found: list[tuple[str, Pair]] = []
    with closing(Stream(job, start=0, stop=steps).batches()) as batches:
        for step, batch in enumerate(batches):
            placed = (batch["placed"],) if "placed" in batch else ()
            key, _ = keys.of_step(config.seed, step)
            images, labels = map(np.asarray, change(key, batch["image"], batch["label"], *placed))
            order = sampler.indices(config.seed, step, size, len(examples))
            for i, image, label in zip(order, images, labels, strict=True):
                found.append((f"step {step}: {examples.names[i]}", (pictured(image), label)))
    return found[:CROPS]
