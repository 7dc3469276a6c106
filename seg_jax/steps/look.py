"""What losses and scores see in the logits of a batch: in all of them at once, or one example after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax

from seg_jax import losses
from seg_jax.runtime import sharding
from seg_jax.steps.sizes import to_sizes

LARGE = 2**28  # bytes of whole logits on a device from which on examples are looked at one after the other

Count = Callable[[jax.Array, jax.Array], Any]  # (whole logits, label) -> arrays [b ...]


def look(
    model: Any,
    objective: losses.Objective,
    outputs: Mapping[str, jax.Array],
    label: jax.Array,
    teacher: Any,
    *,
    count: Count,
    groups: int,
    sizes: tuple[tuple[int, ...], jax.Array] | None = None,
) -> tuple[dict[str, Any], Any]:
    """({name: what the objective sees in these logits}, what `count` finds in 'logits').

    The logits of many classes at the size of the images, their probabilities and gradients are the largest arrays of a
    step: 2.5 GB each for 16 images of 512x512 and 150 classes. Where they are large, each device completes, looks at
    and forgets those of one example after the other, and does it again for the gradient. Losses that have to see a
    batch at once (`losses.Split` says which need not) do without.

    Args:
      model: the network that the logits are from.
      objective: the run's.
      outputs: logits as the decoder has them, see `models.forward`.
      label, teacher: as for `Objective`.
      count: what else is to be found.
      groups: number of devices that share the batch.
      sizes: where labels have another size than images, (height, width) of the images and the valid sizes of both, see
        `to_sizes`.
    """
    size = (label.shape[1], label.shape[2])
    padded, valid = sizes or (size, None)

    def at(
        outputs: Mapping[str, jax.Array], label: jax.Array, teacher: Any, valid: jax.Array | None
    ) -> tuple[dict[str, Any], Any]:
        whole = {name: model.whole(logits, padded) for name, logits in outputs.items()}
        if valid is not None:
            whole, teacher = jax.tree.map(lambda logits: to_sizes(logits, valid, size), (whole, teacher))
        seen = {name: objective.seen(logits, label, teacher) for name, logits in whole.items()}
        return seen, count(whole["logits"], label)

    def one(example: Any) -> Any:
        return jax.tree.map(lambda array: array[0], at(*jax.tree.map(lambda array: array[None], example)))

    batch, examples = (dict(outputs), label, teacher, valid), label.shape[0] // groups
    if not objective.split or examples == 1 or examples * _bytes(outputs["logits"], size) < LARGE:
        return at(*batch)
    return sharding.one_by_one(jax.checkpoint(one), batch, groups=groups)


def _bytes(logits: jax.Array, size: tuple[int, int]) -> int:
    """Bytes of the whole float32 logits of an example."""
    return 4 * size[0] * size[1] * logits.shape[-1]
