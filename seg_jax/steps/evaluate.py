"""The evaluation step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from seg_jax import losses, metrics, models
from seg_jax.data.feed import Batch
from seg_jax.steps.distil import Teach, no_teacher
from seg_jax.steps.look import look


def make_eval_step(
    *,
    model: Any,
    head: str,
    objective: losses.Objective,
    teach: Teach = no_teacher,
    threshold: float,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    groups: int,
) -> Callable[[Any, Any, Batch, Any], dict[str, jax.Array]]:
    """Builds eval_step(params, model_state, batch, teacher) -> {'confusion', 'images', 'totals', 'weights'}.

    `confusion`, int32 [k k], is of the batch, `images`, int32 [b 3 k], are TP, FP and FN of every image. `totals` and
    `weights` [t] are those of the objective's t losses. With a `threshold` above 0 there is 'above', see
    `metrics.above`. Where the batch has 'sizes' [b 2 2], labels have another size than images, and the logits are
    brought to it, see `to_sizes`.
    """

    def count(logits: jax.Array, label: jax.Array) -> dict[str, jax.Array]:
        counts = {"confusion": metrics.confusion_of_logits(logits, label)}
        if threshold:
            counts["above"] = metrics.above(losses.probabilities(logits, head=head), label, threshold)
        return counts

    def eval_step(params: Any, model_state: Any, batch: Batch, teacher: Any) -> dict[str, jax.Array]:
        image, label = models.normalize(batch["image"], mean, std), batch["label"]
        outputs, _ = models.forward(model, params, model_state, image, train=False, coarse=True)
        taught = teach(teacher, image)
        sizes = (image.shape[1:3], batch["sizes"]) if "sizes" in batch else None
        seen, counts = look(model, objective, outputs, label, taught, count=count, groups=groups, sizes=sizes)
        totals, weights = objective.judged(seen["logits"])
        images = jnp.stack(metrics.of_confusion(counts["confusion"]), axis=1)
        sums = {name: array.sum(0) for name, array in counts.items()}
        return {**sums, "images": images, "totals": totals, "weights": weights}

    return eval_step
