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


def normalize(image: jax.Array, mean: tuple[float, ...], std: tuple[float, ...]) -> jax.Array:
    """[b h w 3] in 0..255 -> float32, (image / 255 - mean) / std."""
    return (image.astype(jnp.float32) / 255 - jnp.asarray(mean)) / jnp.asarray(std)


def make_train_step(
    *,
    model: Any,
    optimizer: Optimizer,
    loss: losses.PixelLoss,
    aux_weight: float,
    frozen: bool,
    augment: Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    seed: int,
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]:
    """Builds train_step(state, batch) -> (state, {'loss', 'grad_norm', 'lr'}).

    All randomness is derived from (seed, state.step, position in the batch): a step that is run again, or on
    another number of devices, sees the same pixels.

    Args:
      model, optimizer, loss: of the run.
      aux_weight: of the loss of every auxiliary head, whose sum is added to the loss.
      frozen: the encoder is used but not trained: parameters, statistics and optimizer state stay as they are.
      augment: (key, image, label) -> (image, label) for a batch.
      mean, std: of `normalize`.
      seed: of the run.
    """

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, jax.Array]]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        augment_key, dropout_key = jax.random.split(key)
        image, label = augment(augment_key, batch["image"], batch["label"])
        image = normalize(image, mean, std)

        def objective(trained: Any) -> tuple[jax.Array, Any]:
            params = {**state.params, **trained}
            outputs, model_state = models.forward(
                model, params, state.model_state, image, train=True, frozen=frozen, key=dropout_key
            )
            means = {name: losses.mean(*losses.reduce(*loss(logits, label))) for name, logits in outputs.items()}
            main = means.pop("logits")
            return main + aux_weight * sum(means.values()), model_state

        trained = {part: tree for part, tree in state.params.items() if not (frozen and part == "encoder")}
        (value, model_state), grads = jax.value_and_grad(objective, has_aux=True)(trained)
        params, opt_state = optimizer.update(grads, state.opt_state, state.params, state.step)
        new = TrainState(step=state.step + 1, params=params, model_state=model_state, opt_state=opt_state)
        lr = jnp.asarray(optimizer.schedule(state.step))
        return new, {"loss": value, "grad_norm": optax.tree.norm(grads), "lr": lr}

    return train_step


def make_eval_step(
    *,
    model: Any,
    classes: int,
    loss: losses.PixelLoss,
    threshold: float,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> Callable[[Any, Any, Batch], dict[str, jax.Array]]:
    """Builds eval_step(params, model_state, batch) -> {'confusion' int32 [k k], 'total', 'weight'}.

    `total` / `weight` is the mean loss, see `losses.reduce`. With a `threshold` above 0 there is 'above', see
    `metrics.counts_above`.
    """

    def eval_step(params: Any, model_state: Any, batch: Batch) -> dict[str, jax.Array]:
        label = batch["label"]
        outputs, _ = models.forward(model, params, model_state, normalize(batch["image"], mean, std), train=False)
        logits = outputs["logits"]
        total, weight = losses.reduce(*loss(logits, label))
        confusion = metrics.confusion_matrix(logits.argmax(-1), label, classes)
        counts = {"confusion": confusion, "total": total, "weight": weight}
        if threshold:
            counts["above"] = metrics.counts_above(jax.nn.softmax(logits), label, threshold)
        return counts

    return eval_step


def make_predict(
    *, model: Any, mean: tuple[float, ...], std: tuple[float, ...]
) -> Callable[[Any, Any, jax.Array], jax.Array]:
    """Builds predict(params, model_state, image uint8 [b h w 3]) -> class probabilities, float32 [b h w k]."""

    def predict(params: Any, model_state: Any, image: jax.Array) -> jax.Array:
        outputs, _ = models.forward(model, params, model_state, normalize(image, mean, std), train=False)
        return jax.nn.softmax(outputs["logits"])

    return predict
