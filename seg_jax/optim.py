"""Optimizers and learning-rate schedules by name; time is counted in steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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


def decayed(params: Any) -> Any:
    """True for the parameters that weight decay applies to: kernels; not norms (scale) and biases."""
    return jax.tree.map(lambda p: p.ndim > 1, params)


def adam(schedule: optax.Schedule, *, weight_decay: float, momentum: float) -> optax.GradientTransformation:
    """Adam (Kingma and Ba 2015); weight decay is added to the gradient."""
    del momentum
    return optax.chain(optax.add_decayed_weights(weight_decay, mask=decayed), optax.adam(schedule))


def adamw(schedule: optax.Schedule, *, weight_decay: float, momentum: float) -> optax.GradientTransformation:
    """AdamW (Loshchilov and Hutter 2019): weight decay apart from the gradient."""
    del momentum
    return optax.adamw(schedule, weight_decay=weight_decay, mask=decayed)


def sgd(schedule: optax.Schedule, *, weight_decay: float, momentum: float) -> optax.GradientTransformation:
    """Gradient descent with momentum; weight decay is added to the gradient, as in the papers of the field."""
    return optax.chain(
        optax.add_decayed_weights(weight_decay, mask=decayed), optax.sgd(schedule, momentum=momentum or None)
    )


OPTIMIZERS: Mapping[str, Callable[..., optax.GradientTransformation]] = {"adam": adam, "adamw": adamw, "sgd": sgd}


def clipped(optimizer: optax.GradientTransformation, max_norm: float) -> optax.GradientTransformation:
    """`optimizer` behind clipping of the gradient's global norm to `max_norm`; 0 switches clipping off."""
    return optax.chain(optax.clip_by_global_norm(max_norm), optimizer) if max_norm > 0 else optimizer


def build(optim: Config, *, steps: int) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """The optimizer that `config.optim` describes for a run of `steps` steps, and its learning rate by step."""
    schedule = with_warmup(lookup(SCHEDULES, optim.schedule, "optim.schedule"), optim.lr, steps, optim.warmup_steps)
    optimizer = lookup(OPTIMIZERS, optim.name, "optim.name")(
        schedule, weight_decay=optim.weight_decay, momentum=optim.momentum
    )
    return clipped(optimizer, optim.grad_clip), schedule
