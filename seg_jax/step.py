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
    accumulate: int,
    groups: int,
    ema: float,
    skip_nonfinite: bool,
    augment: Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    seed: int,
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]:
    """Builds train_step(state, batch) -> (state, {'loss', 'grad_norm', 'lr', 'skipped'}).

    All randomness is derived from (seed, state.step, position in the batch): a step that is run again, or on
    another number of devices, sees the same pixels.

    Args:
      model, optimizer, loss: of the run.
      aux_weight: of the loss of every auxiliary head, whose sum is added to the loss.
      frozen: the encoder is used but not trained: parameters, statistics and optimizer state stay as they are.
      accumulate: the batch is worked on in so many parts, one after the other, each with batch statistics of its own;
        loss and gradient are the means over the parts.
      groups: over how many devices the batch is split; each part takes as many examples of each of them.
      ema: decay of the average of weights, in (0, 1); 0: none is kept.
      skip_nonfinite: a step whose loss or gradient is not finite changes nothing but the counters.
      augment: (key, image, label) -> (image, label) for a batch.
      mean, std: of `normalize`.
      seed: of the run.
    """

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, jax.Array]]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        augment_key, dropout_key = jax.random.split(key)
        image, label = augment(augment_key, batch["image"], batch["label"])
        trained = {part: tree for part, tree in state.params.items() if not (frozen and part == "encoder")}

        def objective(trained: Any, model_state: Any, image: jax.Array, label: jax.Array, key: jax.Array) -> Any:
            params = {**state.params, **trained}
            image = normalize(image, mean, std)
            outputs, model_state = models.forward(model, params, model_state, image, train=True, frozen=frozen, key=key)
            means = {name: losses.mean(*losses.reduce(*loss(logits, label))) for name, logits in outputs.items()}
            main = means.pop("logits")
            return main + aux_weight * sum(means.values()), model_state

        gradient = jax.value_and_grad(objective, has_aux=True)

        def part(carry: Any, inputs: Any) -> tuple[Any, None]:
            model_state, total, sums = carry
            image, label, key = inputs
            (value, model_state), grads = gradient(trained, model_state, image, label, key)
            return (
                model_state,
                total + value / accumulate,
                jax.tree.map(lambda s, g: s + g / accumulate, sums, grads),
            ), None

        if accumulate == 1:
            (value, model_state), grads = gradient(trained, state.model_state, image, label, dropout_key)
        else:
            keys = jax.random.split(dropout_key, accumulate)
            parts = (*(_parts(a, accumulate, groups) for a in (image, label)), keys)
            zeros = jax.tree.map(jnp.zeros_like, trained)
            (model_state, value, grads), _ = jax.lax.scan(part, (state.model_state, 0.0, zeros), parts)
        norm = optax.tree.norm(grads)
        params, opt_state = optimizer.update(grads, state.opt_state, state.params, state.step, state.lr_scale)
        new = {"params": params, "model_state": model_state, "opt_state": opt_state}
        if ema:
            # Early on the average is that of few steps: the decay grows to its value (as in TensorFlow's
            # ExponentialMovingAverage with `num_updates`).
            decay = jnp.minimum(ema, (1 + state.step) / (10 + state.step))
            weights = {"params": params, "model_state": model_state}
            new["ema"] = jax.tree.map(lambda old, now: decay * old + (1 - decay) * now, state.ema, weights)
        skipped = jnp.zeros((), bool)
        if skip_nonfinite:
            skipped = ~(jnp.isfinite(value) & jnp.isfinite(norm))
            old = {name: getattr(state, name) for name in new}
            new = jax.tree.map(lambda before, after: jnp.where(skipped, before, after), old, new)
        state = state.replace(step=state.step + 1, skipped=state.skipped + skipped, **new)
        lr = jnp.asarray(optimizer.schedule(state.step - 1)) * state.lr_scale
        return state, {"loss": value, "grad_norm": norm, "lr": lr, "skipped": state.skipped}

    return train_step


def _parts(array: jax.Array, n: int, groups: int) -> jax.Array:
    """[b ...] -> [n b/n ...]; of every group of neighbours (those of a device) each part takes as many."""
    b, *rest = array.shape
    return array.reshape(groups, n, b // groups // n, *rest).swapaxes(0, 1).reshape(n, b // n, *rest)


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
