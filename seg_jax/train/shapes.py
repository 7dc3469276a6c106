"""The programs that a training compiles, with the shapes of their images."""

from __future__ import annotations

from seg_jax.evaluate import shapes
from seg_jax.run.cost import Step
from seg_jax.run.opening import Job
from seg_jax.runtime import sharding
from seg_jax.train.stream import Stream


def steps(job: Job) -> list[Step]:
    """The training step, and an evaluation step for each shape in which photographs pass.

    Args:
      job: the splits to train on and to evaluate on, checked where photographs may have different sizes.
    """
    config, functions, val = job.config, job.functions, job.splits[1]
    stream = Stream(job, start=0, stop=1)
    images = f"{config.train.batch_size} of {_shown(stream.size)}"
    if all(config.augment.crop) and stream.size != config.augment.crop:
        images += f", crops of {_shown(config.augment.crop)}"
    found = [Step("train step", images, stream.train_step(frozen=config.finetune.freeze))]
    groups = shapes.plan(
        val,
        short_side=config.data.short_side,
        batch_size=config.eval.batch_size,
        parts=sharding.batch_parts(functions.mesh),
    )
    for group in groups:
        images = f"{group.batch_size} of {_shown(group.size)}"
        images += f", scored at {_shown(group.scored)}" if group.scored else ""
        images += f" ({len(group.indices)} photographs)" if val.sizes else ""
        lowered = functions.eval_step(group.size, batch_size=group.batch_size, scored=group.scored)
        found.append(Step("eval step", images, lowered))
    return found


def _shown(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
