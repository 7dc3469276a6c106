"""Optimizers by name, with a learning rate and a weight decay for every parameter."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from optax import contrib

from seg_jax.config import ConfigError, FinetuneConfig, OptimConfig, lookup
from seg_jax.optim import schedules
from seg_jax.runtime import trees

Tree = Any  # nested dicts of parameters, or of one number for each parameter


def adam(optim: OptimConfig, decay: optax.GradientTransformation) -> optax.GradientTransformation:
    """Adam (Kingma and Ba 2015); weight decay is added to the gradient."""
    del optim
    return optax.chain(decay, optax.scale_by_adam())


def adamw(optim: OptimConfig, decay: optax.GradientTransformation) -> optax.GradientTransformation:
    """AdamW (Loshchilov and Hutter 2019): weight decay decoupled from the gradient."""
    del optim
    return optax.chain(optax.scale_by_adam(), decay)


def sgd(optim: OptimConfig, decay: optax.GradientTransformation) -> optax.GradientTransformation:
    """Gradient descent with momentum; weight decay is added to the gradient, as in the papers of the field."""
    return optax.chain(decay, optax.trace(decay=optim.momentum)) if optim.momentum else decay


def lamb(optim: OptimConfig, decay: optax.GradientTransformation) -> optax.GradientTransformation:
    """LAMB for large batches (You et al. 2020): AdamW's direction, scaled to the norm of the parameter."""
    del optim
    return optax.chain(optax.scale_by_adam(eps=1e-6), decay, optax.scale_by_trust_ratio())


def adafactor(optim: OptimConfig, decay: optax.GradientTransformation) -> optax.GradientTransformation:
    """Adafactor (Shazeer and Stern 2018): factored second moments of large kernels, steps relative to the parameter's
    size."""
    del optim
    return optax.chain(
        optax.scale_by_factored_rms(), optax.clip_by_block_rms(1.0), optax.scale_by_param_block_rms(), decay
    )


def muon(optim: OptimConfig, decay: optax.GradientTransformation) -> optax.GradientTransformation:
    """Muon (Jordan et al. 2024): the momentum of kernels is orthogonalized as a matrix (inputs x outputs) and scaled to
    the size of Adam's steps (Liu et al. 2025, 0.2 sqrt(max(n, m))). All other parameters use Adam. Both use Nesterov
    momentum."""

    def kernels(params: Tree) -> Tree:
        return jax.tree.map(
            lambda p: contrib.MuonDimensionNumbers(tuple(range(p.ndim - 1)), p.ndim - 1) if p.ndim > 1 else None, params
        )

    # The rate, and with it the sign, comes after the decay.
    direction = contrib.muon(-1.0, beta=optim.momentum, muon_weight_dimension_numbers=kernels, consistent_rms=0.2)
    return optax.chain(direction, decay)


OPTIMIZERS: Mapping[str, Callable[[OptimConfig, optax.GradientTransformation], optax.GradientTransformation]] = {
    "adafactor": adafactor,
    "adam": adam,
    "adamw": adamw,
    "lamb": lamb,
    "muon": muon,
    "sgd": sgd,
}


def group_factors(params: Tree, groups: tuple[tuple[str, float, float], ...]) -> tuple[Tree, Tree]:
    """Factors of the learning rate and of the weight decay for every parameter, from groups of parameters.

    Args:
      params: nested dicts.
      groups: (regular expression for the whole path, factor of the rate, factor of the decay); the first expression
        that matches a parameter applies, and a parameter that none matches keeps its rate and decay.

    Raises:
      ConfigError: an expression matches no parameter.
    """
    names = trees.names(params)
    for pattern, _, _ in groups:
        if not any(re.fullmatch(pattern, name) for name in jax.tree.leaves(names)):
            known = ", ".join(jax.tree.leaves(names)[:5])
            raise ConfigError(
                f"config.optim.groups: {pattern!r} fits no parameter. It fits whole paths, such as {known}."
            )

    factors = jax.tree.map(
        lambda name: next(((lr, decay) for pattern, lr, decay in groups if re.fullmatch(pattern, name)), (1.0, 1.0)),
        names,
    )
    lrs, decays = (jax.tree.map(lambda _, pair, i=i: pair[i], names, factors) for i in (0, 1))
    return lrs, decays


def stage_rates(params: Mapping[str, Any], *, encoder_lr: float, layer_decay: float) -> Tree:
    """The learning rate of every parameter relative to the decoder's: a tree of numbers.

    Stage i of an encoder with n stages has encoder_lr * layer_decay ** (n - i); its stem is stage 0, and 'bottom' the
    last. This is layer-wise decay (Howard and Ruder 2018, with 1 / 2.6), by stage.
    """
    stages = {
        name: int(number[0]) if (number := re.findall(r"^[a-z]+(\d+)", name)) else 0 for name in params["encoder"]
    }
    if "bottom" in stages:  # FC-DenseNet's, below all blocks that have a number
        stages["bottom"] = max(stages.values()) + 1
    deepest = max(stages.values(), default=0)

    def of_stage(name: str, tree: Any) -> Any:
        return jax.tree.map(lambda _: encoder_lr * layer_decay ** (deepest - stages[name]), tree)

    encoder = {name: of_stage(name, tree) for name, tree in params["encoder"].items()}
    return {**{part: jax.tree.map(lambda _: 1.0, tree) for part, tree in params.items()}, "encoder": encoder}


@dataclass(frozen=True)
class Optimizer:
    """Turns gradients into new parameters.

    Each part of the network (encoder, decoder) has its own optimizer state, so a part that was frozen starts with a
    fresh state.

    Attributes:
      direction: weight decay -> transformation of gradients into directions of descent, before the learning rate.
      schedule: step -> learning rate.
      rates: parameters -> their learning rates relative to the schedule.
      decays: parameters -> their weight decay.
      max_norm: global norm to which gradients are clipped; 0: no clipping.
    """

    direction: Callable[[optax.GradientTransformation], optax.GradientTransformation]
    schedule: optax.Schedule
    rates: Callable[[Tree], Tree]
    decays: Callable[[Tree], Tree]
    max_norm: float = 0.0

    def init(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The state at step 0, by part.

        Raises:
          ConfigError: see `group_factors`.
        """
        self.rates(params)
        return {part: self.direction(optax.identity()).init(tree) for part, tree in params.items()}

    def update(
        self,
        grads: Mapping[str, Any],
        opt_state: Mapping[str, Any],
        params: Mapping[str, Any],
        step: jax.Array,
        scale: jax.Array | float = 1.0,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """(parameters, state) after one step.

        Args:
          grads: gradients by part; a missing part is frozen: neither its parameters nor its state change.
          opt_state, params: the optimizer's state and the parameters, by part, for all parts.
          step: the step of the schedule.
          scale: factor of the learning rate.
        """
        if self.max_norm > 0:
            grads = optax.clip_by_global_norm(self.max_norm).update(grads, optax.EmptyState())[0]
        lr, rates, decays = self.schedule(step) * scale, self.rates(params), self.decays(params)
        params, opt_state = dict(params), dict(opt_state)
        for part in grads:
            direction = self.direction(_decay(decays[part]))
            directions, opt_state[part] = direction.update(grads[part], opt_state[part], params[part])
            params[part] = jax.tree.map(lambda p, d, r: p - lr * r * d, params[part], directions, rates[part])
        return params, opt_state


def _decay(decays: Tree) -> optax.GradientTransformation:
    """Adds decay * parameter; it has no state, so `optax.identity` can stand in for it in `Optimizer.init`."""
    return optax.stateless(lambda updates, params: jax.tree.map(lambda u, p, d: u + d * p, updates, params, decays))


def build(
    optim: OptimConfig, finetune: FinetuneConfig, *, steps: int, frozen_steps: int = 0, restarts: Sequence[int] = ()
) -> Optimizer:
    """The optimizer that `config.optim` and `config.finetune` describe.

    Args:
      optim, finetune: groups of the configuration.
      steps: number of steps of the run.
      frozen_steps: number of steps at the start with a frozen encoder.
      restarts: steps after which the learning-rate schedule begins anew.
    """
    method = lookup(OPTIMIZERS, optim.name, "optim.name")

    def rates(params: Tree) -> Tree:
        by_stage = stage_rates(params, encoder_lr=finetune.encoder_lr, layer_decay=finetune.layer_decay)
        return jax.tree.map(jnp.multiply, by_stage, group_factors(params, optim.groups)[0])

    def decays(params: Tree) -> Tree:
        # Kernels decay; scales of norms and biases do not.
        factors = group_factors(params, optim.groups)[1]
        return jax.tree.map(lambda p, factor: optim.weight_decay * factor * (p.ndim > 1), params, factors)

    return Optimizer(
        direction=lambda decay: method(optim, decay),
        schedule=schedules.build(
            optim, steps=steps, frozen_steps=frozen_steps, second_lr=finetune.lr, restarts=restarts
        ),
        rates=rates,
        decays=decays,
        max_norm=optim.grad_clip,
    )
