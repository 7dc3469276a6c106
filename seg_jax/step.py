"""The pure functions that are compiled: one training step, one evaluation step, prediction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from seg_jax import losses, metrics, models
from seg_jax.optim import Optimizer
from seg_jax.state import TrainState

Batch = dict[str, jax.Array]
Teach = Callable[[Any, jax.Array], Any]  # (arrays of the teacher, image in 0..255) -> its logits, or None without one


def normalize(image: jax.Array, mean: tuple[float, ...], std: tuple[float, ...]) -> jax.Array:
    """[b h w 3] in 0..255 -> float32, (image / 255 - mean) / std."""
    return (image.astype(jnp.float32) / 255 - jnp.asarray(mean)) / jnp.asarray(std)


def make_teach(*, model: Any, mean: tuple[float, ...], std: tuple[float, ...]) -> Teach:
    """Builds teach({'params', 'model_state'}, image [b h w 3] in 0..255) -> logits of that network, in evaluation."""

    def teach(weights: Any, image: jax.Array) -> jax.Array:
        outputs, _ = models.forward(model, **weights, image=normalize(image, mean, std), train=False)
        return jax.lax.stop_gradient(outputs["logits"])

    return teach


def no_teacher(weights: Any, image: jax.Array) -> None:
    """The `Teach` of a run without distillation."""


def make_train_step(
    *,
    model: Any,
    optimizer: Optimizer,
    objective: losses.Objective,
    teach: Teach = no_teacher,
    aux_weight: float,
    frozen: bool,
    augment: Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    seed: int,
) -> Callable[[TrainState, Batch, Any], tuple[TrainState, dict[str, jax.Array]]]:
    """Builds train_step(state, batch, teacher) -> (state, {'loss', 'grad_norm', 'lr'}).

    An objective of several losses gives 'loss/NAME' too, the mean of each. `teacher` is what `teach` takes, or ().

    All randomness is derived from (seed, state.step, position in the batch): a step that is run again, or on
    another number of devices, sees the same pixels.

    Args:
      model, optimizer, objective, teach: of the run; the teacher sees the augmented image.
      aux_weight: of the objective of every auxiliary head, whose sum is added.
      frozen: the encoder is used but not trained: parameters, statistics and optimizer state stay as they are.
      augment: (key, image, label) -> (image, label) for a batch.
      mean, std: of `normalize`.
      seed: of the run.
    """

    def train_step(state: TrainState, batch: Batch, teacher: Any) -> tuple[TrainState, dict[str, jax.Array]]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        augment_key, dropout_key = jax.random.split(key)
        image, label = augment(augment_key, batch["image"], batch["label"])
        taught = teach(teacher, image)
        image = normalize(image, mean, std)

        def cost(trained: Any) -> tuple[jax.Array, Any]:
            params = {**state.params, **trained}
            outputs, model_state = models.forward(
                model, params, state.model_state, image, train=True, frozen=frozen, key=dropout_key
            )
            values = {name: objective.value(*objective(x, label, taught)) for name, x in outputs.items()}
            main, means = values.pop("logits")
            return main + aux_weight * sum(value for value, _ in values.values()), (means, model_state)

        trained = {part: tree for part, tree in state.params.items() if not (frozen and part == "encoder")}
        (value, (means, model_state)), grads = jax.value_and_grad(cost, has_aux=True)(trained)
        params, opt_state = optimizer.update(grads, state.opt_state, state.params, state.step)
        new = TrainState(step=state.step + 1, params=params, model_state=model_state, opt_state=opt_state)
        lr = jnp.asarray(optimizer.schedule(state.step))
        each = {f"loss/{name}": mean for name, mean in means.items()} if len(means) > 1 else {}
        return new, {"loss": value, "grad_norm": optax.tree.norm(grads), "lr": lr} | each

    return train_step


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
    """Builds eval_step(params, model_state, batch, teacher) -> {'confusion' int32 [k k], 'totals', 'weights' [t]}.

    `totals` and `weights` are those of the objective's t losses. With a `threshold` above 0 there is 'above', see
    `metrics.counts_above`.
    """

    def eval_step(params: Any, model_state: Any, batch: Batch, teacher: Any) -> dict[str, jax.Array]:
        label = batch["label"]
        outputs, _ = models.forward(model, params, model_state, normalize(batch["image"], mean, std), train=False)
        logits = outputs["logits"]
        totals, weights = objective(logits, label, teach(teacher, batch["image"]))
        confusion = metrics.confusion_matrix(logits.argmax(-1), label, classes)
        counts = {"confusion": confusion, "totals": totals, "weights": weights}
        if threshold:
            counts["above"] = metrics.counts_above(losses.probabilities(logits, head=head), label, threshold)
        return counts

    return eval_step


def make_predict(
    *, model: Any, head: str, mean: tuple[float, ...], std: tuple[float, ...]
) -> Callable[[Any, Any, jax.Array], jax.Array]:
    """Builds predict(params, model_state, image uint8 [b h w 3]) -> class probabilities, float32 [b h w k]."""

    def predict(params: Any, model_state: Any, image: jax.Array) -> jax.Array:
        outputs, _ = models.forward(model, params, model_state, normalize(image, mean, std), train=False)
        return losses.probabilities(outputs["logits"], head=head)

    return predict
