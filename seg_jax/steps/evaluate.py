"""The evaluation step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from seg_jax import losses, metrics, models
from seg_jax.config import Size
from seg_jax.data.feed import Batch
from seg_jax.steps.distil import Teach, no_teacher


def make_eval_step(
    *,
    model: Any,
    classes: int,
    head: str,
    objective: losses.Objective,
    teach: Teach = no_teacher,
    threshold: float,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> Callable[[Any, Any, Batch, Any], dict[str, jax.Array]]:
    """Builds eval_step(params, model_state, batch, teacher) -> {'confusion', 'images', 'totals', 'weights'}.

    `confusion`, int32 [k k], is of the batch, `images`, int32 [b 3 k], are TP, FP and FN of every image. `totals` and
    `weights` [t] are those of the objective's t losses. With a `threshold` above 0 there is 'above', see
    `metrics.above`. Where the batch has 'sizes' [b 2 2], labels have another size than images, and the logits are
    brought to it, see `to_sizes`.
    """

    def eval_step(params: Any, model_state: Any, batch: Batch, teacher: Any) -> dict[str, jax.Array]:
        image, label = models.normalize(batch["image"], mean, std), batch["label"]
        outputs, _ = models.forward(model, params, model_state, image, train=False)
        logits, taught = outputs["logits"], teach(teacher, image)
        if "sizes" in batch:
            logits, taught = (
                jax.tree.map(lambda x: to_sizes(x, batch["sizes"], (label.shape[1], label.shape[2])), array)
                for array in (logits, taught)
            )
        totals, weights = objective(logits, label, taught)
        confusion = metrics.confusion_matrices(logits.argmax(-1), label, classes)
        images = jnp.stack(metrics.of_confusion(confusion), axis=1)
        counts = {"confusion": confusion.sum(0), "images": images, "totals": totals, "weights": weights}
        if threshold:
            counts["above"] = metrics.above(losses.probabilities(logits, head=head), label, threshold)
        return counts

    return eval_step


def to_sizes(values: jax.Array, sizes: jax.Array, size: Size) -> jax.Array:
    """Resizes padded values of different sizes, each by its own factors; bilinear, antialiased, as Pillow's triangle.

    Args:
      values: float32 [b h w k], padded below and to the right.
      sizes: float32 [b 2 2], (height, width) of what is valid: before, and after.
      size: (height, width) of the padded result.

    Returns:
      float32 [b *size k].
    """

    def weights(before: jax.Array, after: jax.Array, n: int, length: int) -> jax.Array:
        """The shares [length n] of the old positions in each new one along an axis."""
        scale = before / after
        middle = jnp.minimum((jnp.arange(length) + 0.5) * scale, before - 0.5)[:, None]
        old = jnp.arange(n) + 0.5
        shares = jnp.maximum(1 - jnp.abs(old - middle) / jnp.maximum(scale, 1), 0) * (old < before)
        return shares / shares.sum(1, keepdims=True)

    def one(values: jax.Array, sizes: jax.Array) -> jax.Array:
        rows, columns = (weights(sizes[0, i], sizes[1, i], values.shape[i], size[i]) for i in (0, 1))
        return jnp.einsum("Hh,Ww,hwk->HWk", rows, columns, values, precision="highest")

    # An image with sizes of 0 fills a batch; its shares would be NaN.
    return jax.vmap(one)(values, jnp.maximum(sizes, 1))
