"""The pure functions that are compiled: one training step, one evaluation step, prediction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from seg_jax import losses, metrics, models
from seg_jax.state import TrainState

Batch = dict[str, jax.Array]


def normalize(image: jax.Array, mean: tuple[float, ...], std: tuple[float, ...]) -> jax.Array:
    """[b h w 3] in 0..255 -> float32, (image / 255 - mean) / std."""
    return (image.astype(jnp.float32) / 255 - jnp.asarray(mean)) / jnp.asarray(std)


def make_train_step(
    *,
    model: Any,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    loss: losses.PixelLoss,
    augment: Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    seed: int,
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]:
    """Builds train_step(state, batch) -> (state, {'loss', 'grad_norm', 'lr'}).

    All randomness is derived from (seed, state.step, position in the batch): a step that is run again, or on
    another number of devices, sees the same pixels.
    """

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, jax.Array]]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        augment_key, dropout_key = jax.random.split(key)
        image, label = augment(augment_key, batch["image"], batch["label"])
        image = normalize(image, mean, std)

        def objective(params: Any) -> tuple[jax.Array, Any]:
            outputs, model_state = models.forward(model, params, state.model_state, image, train=True, key=dropout_key)
            return losses.mean(*losses.reduce(*loss(outputs["logits"], label))), model_state

        (value, model_state), grads = jax.value_and_grad(objective, has_aux=True)(state.params)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        new = TrainState(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            model_state=model_state,
            opt_state=opt_state,
        )
        return new, {"loss": value, "grad_norm": optax.tree.norm(grads), "lr": jnp.asarray(schedule(state.step))}

    return train_step


def make_eval_step(
    *, model: Any, classes: int, loss: losses.PixelLoss, mean: tuple[float, ...], std: tuple[float, ...]
) -> Callable[[Any, Any, Batch], dict[str, jax.Array]]:
    """Builds eval_step(params, model_state, batch) -> {'confusion' int32 [k k], 'total', 'weight'}.

    `total` / `weight` is the mean loss, see `losses.reduce`.
    """

    def eval_step(params: Any, model_state: Any, batch: Batch) -> dict[str, jax.Array]:
        outputs, _ = models.forward(model, params, model_state, normalize(batch["image"], mean, std), train=False)
        logits = outputs["logits"]
        total, weight = losses.reduce(*loss(logits, batch["label"]))
        confusion = metrics.confusion_matrix(logits.argmax(-1), batch["label"], classes)
        return {"confusion": confusion, "total": total, "weight": weight}

    return eval_step


def make_predict(
    *, model: Any, mean: tuple[float, ...], std: tuple[float, ...]
) -> Callable[[Any, Any, jax.Array], jax.Array]:
    """Builds predict(params, model_state, image uint8 [b h w 3]) -> class probabilities, float32 [b h w k]."""

    def predict(params: Any, model_state: Any, image: jax.Array) -> jax.Array:
        outputs, _ = models.forward(model, params, model_state, normalize(image, mean, std), train=False)
        return jax.nn.softmax(outputs["logits"])

    return predict
