"""The training step: of one network, of several at once, and several steps as one program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import optax

from seg_jax import losses, metrics, models
from seg_jax.augment import keys
from seg_jax.data.feed import Batch
from seg_jax.optim import Optimizer
from seg_jax.steps.distil import Teach, no_teacher
from seg_jax.steps.look import look
from seg_jax.steps.state import TrainState


def make_train_step(
    *,
    model: Any,
    optimizer: Optimizer,
    objective: losses.Objective,
    teach: Teach = no_teacher,
    aux_weight: float,
    frozen: bool,
    accumulate: int,
    groups: int,
    ema: float,
    skip_nonfinite: bool,
    augment: Callable[..., tuple[jax.Array, jax.Array]],
    seed: int,
) -> Callable[[TrainState, Batch, Any], tuple[TrainState, dict[str, jax.Array]]]:
    """Builds train_step(state, batch, teacher) -> (state, {'loss', 'grad_norm', 'lr', 'skipped', 'counts'}).

    'counts', int32 [3 k], are TP, FP and FN of the batch as the network sees it: augmented, before the update, with
    dropout and the batch's statistics. An objective of several losses gives 'loss/NAME' too, the mean of each.
    `teacher` is what `teach` takes, or ().

    All randomness is derived from (seed, state.step, position in the batch): a step that is run again, or on
    another number of devices, sees the same pixels.

    Args:
      model, optimizer, objective, teach: the run's own; the teacher sees the augmented image.
      aux_weight: weight of the auxiliary heads' objectives, whose sum is added.
      frozen: the encoder is used but not trained: parameters, statistics and optimizer state stay as they are.
      accumulate: number of parts of a batch, which are computed one after the other, each with batch statistics of its
        own; loss and gradient are the means over the parts.
      groups: number of devices that share a batch; every part takes the same number of examples from each.
      ema: decay of the average of weights, in (0, 1); 0: none is kept.
      skip_nonfinite: a step whose loss or gradient is not finite changes nothing but the counters.
      augment: (key, image, label[, placed]) -> (image, label) for a batch, bytes to normalised images; `placed` is
        the batch's own, where its images are parts of photographs.
      seed: the run's seed; member m of an ensemble takes `seed` + m.
    """

    def train_step(
        state: TrainState, batch: Batch, teacher: Any, member: jax.Array | int = 0
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        augment_key, dropout_key = keys.of_step(seed + member, state.step)
        placed = (batch["placed"],) if "placed" in batch else ()
        image, label = augment(augment_key, batch["image"], batch["label"], *placed)
        teacher_logits = teach(teacher, image)
        trained = {part: tree for part, tree in state.params.items() if not (frozen and part == "encoder")}

        def cost(
            trained: Any, model_state: Any, image: jax.Array, label: jax.Array, teacher_logits: Any, key: jax.Array
        ) -> Any:
            params = {**state.params, **trained}
            outputs, model_state = models.forward(
                model, params, model_state, image, train=True, frozen=frozen, coarse=True, key=key
            )
            seen, confusion = look(
                model, objective, outputs, label, teacher_logits, count=metrics.confusion_of_logits, groups=groups
            )
            values = {name: objective.value(*objective.judged(arrays)) for name, arrays in seen.items()}
            main, means = values.pop("logits")
            means = {"loss": main + aux_weight * sum(value for value, _ in values.values())} | {
                f"loss/{name}": mean for name, mean in means.items() if len(means) > 1
            }
            counts = jnp.stack(metrics.of_confusion(confusion.sum(0)))
            return means["loss"], (means, counts, model_state)

        gradient = jax.grad(cost, has_aux=True)

        def part(carry: Any, inputs: Any) -> tuple[Any, None]:
            model_state, means, counts, grads = carry
            part_grads, (part_means, part_counts, model_state) = gradient(trained, model_state, *inputs)
            means, grads = jax.tree.map(
                lambda total, x: total + x / accumulate, (means, grads), (part_means, part_grads)
            )
            return (model_state, means, counts + part_counts, grads), None

        inputs = (image, label, teacher_logits)
        if accumulate == 1:
            grads, (means, counts, model_state) = gradient(trained, state.model_state, *inputs, dropout_key)
        else:
            parts = jax.tree.map(lambda a: _parts(a, accumulate, groups), inputs)
            parts = (*parts, jax.random.split(dropout_key, accumulate))
            first = jax.tree.map(lambda a: a[0], parts)
            shapes = jax.eval_shape(gradient, trained, state.model_state, *first)
            grads, means, counts = (
                jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), tree) for tree in (shapes[0], *shapes[1][:2])
            )
            (model_state, means, counts, grads), _ = jax.lax.scan(
                part, (state.model_state, means, counts, grads), parts
            )
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
            skipped = ~(jnp.isfinite(means["loss"]) & jnp.isfinite(norm))
            old = {name: getattr(state, name) for name in new}
            new = jax.tree.map(lambda before, after: jnp.where(skipped, before, after), old, new)
        lr = jnp.asarray(optimizer.schedule(state.step)) * state.lr_scale
        state = replace(state, step=state.step + 1, skipped=state.skipped + skipped, **new)
        return state, means | {"grad_norm": norm, "lr": lr, "skipped": state.skipped, "counts": counts}

    return train_step


def make_members(
    train_step: Callable[..., tuple[TrainState, dict[str, jax.Array]]], *, members: int, sequential: bool
) -> Callable[[TrainState, Sequence[Batch], Any], tuple[TrainState, dict[str, jax.Array]]]:
    """Builds a step of several networks at once, each on a batch of its own; metrics are means over them, counts sums.

    Args:
      train_step: from `make_train_step`.
      members: how many there are. Their arrays have it as leading axis, but for `step` and `lr_scale`.
      sequential: one after the other, instead of together: XLA's CPU backend would make grouped convolutions of them,
        which are slow there.
    """

    def members_step(state: TrainState, batches: Sequence[Batch], teacher: Any) -> Any:
        def one(inputs: Any) -> Any:
            mine, batch, member = inputs
            return train_step(replace(state, **mine), batch, teacher, member)

        stacked = jax.tree.map(lambda *arrays: jnp.stack(arrays), *batches)
        own = {name: getattr(state, name) for name in TrainState.OWN}
        inputs = (own, stacked, jnp.arange(members))
        new, measured = jax.lax.map(one, inputs) if sequential else jax.vmap(one)(inputs)
        new = replace(new, step=state.step + 1, lr_scale=state.lr_scale)
        counts = measured.pop("counts").sum(0)
        return new, {name: values.mean(0) for name, values in measured.items()} | {"counts": counts}

    return members_step


def make_dispatch(
    train_step: Callable[[TrainState, Batch, Any], tuple[TrainState, dict[str, jax.Array]]],
) -> Callable[[TrainState, Sequence[Batch], Any], tuple[TrainState, dict[str, jax.Array]]]:
    """Builds dispatch(state, batches, teacher): a step for each of n batches, in one program; metrics are [n] each."""

    def dispatch(state: TrainState, batches: Sequence[Batch], teacher: Any) -> tuple[TrainState, dict[str, jax.Array]]:
        stacked = jax.tree.map(lambda *arrays: jnp.stack(arrays), *batches)
        return jax.lax.scan(lambda state, batch: train_step(state, batch, teacher), state, stacked)

    return dispatch


def _parts(array: jax.Array, n: int, groups: int) -> jax.Array:
    """[b ...] -> [n b/n ...]; neighbours share a device, and every part takes b/n/groups examples from each device."""
    b, *rest = array.shape
    return array.reshape(groups, n, b // groups // n, *rest).swapaxes(0, 1).reshape(n, b // n, *rest)
