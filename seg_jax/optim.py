"""Optimizers and learning-rate schedules by name; time is counted in steps."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import optax

from seg_jax.config import Config, lookup


def constant(lr: float, steps: int) -> optax.Schedule:
    """The same rate throughout."""
    del steps
    return optax.constant_schedule(lr)


def cosine(lr: float, steps: int) -> optax.Schedule:
    """Half a cosine from `lr` to 0 (Loshchilov and Hutter 2017)."""
    return optax.cosine_decay_schedule(lr, max(steps, 1))


def polynomial(lr: float, steps: int) -> optax.Schedule:
    """lr * (1 - t / steps) ** 0.9, the 'poly' policy of DeepLab (Chen et al. 2018)."""
    return optax.polynomial_schedule(lr, 0.0, power=0.9, transition_steps=max(steps, 1))


SCHEDULES: Mapping[str, Callable[[float, int], optax.Schedule]] = {
    "constant": constant,
    "cosine": cosine,
    "polynomial": polynomial,
}


def with_warmup(schedule: Callable[[float, int], optax.Schedule], lr: float, steps: int, warmup: int) -> optax.Schedule:
    """`warmup` steps of linear growth from lr / warmup to lr, then `schedule` over the remaining steps."""
    after = schedule(lr, steps - warmup)
    if warmup == 0:
        return after
    return optax.join_schedules([lambda t: lr * (t + 1) / warmup, after], [warmup])


def in_two_phases(optim: Config, *, steps: int, frozen_steps: int, lr: float) -> optax.Schedule:
    """The learning rate by step; with a second `lr`, warm-up and schedule begin anew after `frozen_steps`."""
    schedule = lookup(SCHEDULES, optim.schedule, "optim.schedule")
    if not lr or not 0 < frozen_steps < steps:
        return with_warmup(schedule, optim.lr, steps, optim.warmup_steps)
    phases = [
        with_warmup(schedule, rate, length, min(optim.warmup_steps, length - 1))
        for rate, length in ((optim.lr, frozen_steps), (lr, steps - frozen_steps))
    ]
    return optax.join_schedules(phases, [frozen_steps])


def decayed(params: Any) -> Any:
    """True for the parameters that weight decay applies to: kernels; not norms (scale) and biases."""
    return jax.tree.map(lambda p: p.ndim > 1, params)


def adam(*, weight_decay: float, momentum: float) -> optax.GradientTransformation:
    """Adam (Kingma and Ba 2015); weight decay is added to the gradient."""
    del momentum
    return optax.chain(optax.add_decayed_weights(weight_decay, mask=decayed), optax.scale_by_adam())


def adamw(*, weight_decay: float, momentum: float) -> optax.GradientTransformation:
    """AdamW (Loshchilov and Hutter 2019): weight decay apart from the gradient."""
    del momentum
    return optax.chain(optax.scale_by_adam(), optax.add_decayed_weights(weight_decay, mask=decayed))


def sgd(*, weight_decay: float, momentum: float) -> optax.GradientTransformation:
    """Gradient descent with momentum; weight decay is added to the gradient, as in the papers of the field."""
    decay = optax.add_decayed_weights(weight_decay, mask=decayed)
    return optax.chain(decay, optax.trace(decay=momentum)) if momentum else decay


OPTIMIZERS: Mapping[str, Callable[..., optax.GradientTransformation]] = {"adam": adam, "adamw": adamw, "sgd": sgd}


def rates(params: Mapping[str, Any], *, encoder_lr: float, layer_decay: float) -> Any:
    """The learning rate of every parameter relative to the decoder's: a tree of numbers.

    Stage i of an encoder of n stages has encoder_lr * layer_decay ** (n - i), its stem counts as stage 0: layer-wise
    decay (Howard and Ruder 2018, there 1 / 2.6), by stages.
    """
    stages = {
        name: int(number[0]) if (number := re.findall(r"^[a-z]+(\d+)", name)) else 0 for name in params["encoder"]
    }
    deepest = max(stages.values(), default=0)

    def of_stage(name: str, tree: Any) -> Any:
        return jax.tree.map(lambda _: encoder_lr * layer_decay ** (deepest - stages[name]), tree)

    encoder = {name: of_stage(name, tree) for name, tree in params["encoder"].items()}
    return {**{part: jax.tree.map(lambda _: 1.0, tree) for part, tree in params.items()}, "encoder": encoder}


@dataclass(frozen=True)
class Optimizer:
    """Turns gradients into new parameters.

    The parts of the network (encoder, decoder) have states of their own, so a part that is frozen for a while starts
    afterwards as if training had just begun.

    Attributes:
      direction: gradient -> direction of descent, before the learning rate.
      schedule: step -> learning rate.
      rates: parameters -> their learning rates relative to the schedule, see `rates`.
      max_norm: gradients are scaled down to this global norm; 0: not.
    """

    direction: optax.GradientTransformation
    schedule: optax.Schedule
    rates: Callable[[Any], Any]
    max_norm: float = 0.0

    def init(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The state at step 0, by part."""
        return {part: self.direction.init(tree) for part, tree in params.items()}

    def update(
        self, grads: Mapping[str, Any], opt_state: Mapping[str, Any], params: Mapping[str, Any], step: jax.Array
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """(parameters, state) after one step.

        Args:
          grads: by part; parts that are not there are frozen: neither they nor their state change.
          opt_state, params: by part, all of them.
          step: of the schedule.
        """
        if self.max_norm > 0:
            grads = optax.clip_by_global_norm(self.max_norm).update(grads, optax.EmptyState())[0]
        lr, relative = self.schedule(step), self.rates(params)
        params, opt_state = dict(params), dict(opt_state)
        for part in grads:
            directions, opt_state[part] = self.direction.update(grads[part], opt_state[part], params[part])
            params[part] = jax.tree.map(lambda p, d, r: p - lr * r * d, params[part], directions, relative[part])
        return params, opt_state


def build(optim: Config, finetune: Config, *, steps: int, frozen_steps: int = 0) -> Optimizer:
    """The optimizer that `config.optim` and `config.finetune` describe.

    Args:
      optim, finetune: groups of the configuration.
      steps: of the run.
      frozen_steps: of these, how many with a frozen encoder.
    """
    return Optimizer(
        direction=lookup(OPTIMIZERS, optim.name, "optim.name")(
            weight_decay=optim.weight_decay, momentum=optim.momentum
        ),
        schedule=in_two_phases(optim, steps=steps, frozen_steps=frozen_steps, lr=finetune.lr),
        rates=partial(rates, encoder_lr=finetune.encoder_lr, layer_decay=finetune.layer_decay),
        max_norm=optim.grad_clip,
    )
