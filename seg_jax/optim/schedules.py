"""Learning-rate schedules by name; time is counted in steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import optax

from seg_jax.config import OptimConfig, lookup

START, END = 25.0, 1e4  # one_cycle starts at lr / START and ends at that / END, as the paper's reference code does


def constant(optim: OptimConfig, lr: float, steps: int) -> optax.Schedule:
    """The same rate throughout."""
    del optim, steps
    return optax.constant_schedule(lr)


def cosine(optim: OptimConfig, lr: float, steps: int) -> optax.Schedule:
    """Half a cosine from `lr` to 0 (Loshchilov and Hutter 2017)."""
    del optim
    return optax.cosine_decay_schedule(lr, max(steps, 1))


def polynomial(optim: OptimConfig, lr: float, steps: int) -> optax.Schedule:
    """lr * (1 - t / steps) ** 0.9, the 'poly' policy of DeepLab (Chen et al. 2018)."""
    del optim
    return optax.polynomial_schedule(lr, 0.0, power=0.9, transition_steps=max(steps, 1))


def step(optim: OptimConfig, lr: float, steps: int) -> optax.Schedule:
    """`lr`, multiplied by `optim.factor` at each of the shares of the run in `optim.milestones`."""
    bounds = [round(share * steps) for share in optim.milestones]
    return lambda t: lr * optim.factor ** sum((t >= bound) * 1.0 for bound in bounds)


def one_cycle(optim: OptimConfig, lr: float, steps: int) -> optax.Schedule:
    """Up from lr / 25 to `lr` over 0.3 of the run and down to lr / 250,000, both along half a cosine (Smith 2018)."""
    del optim
    if steps < 2:
        return optax.constant_schedule(lr)
    return optax.cosine_onecycle_schedule(steps, lr, pct_start=0.3, div_factor=START, final_div_factor=END)


# `plateau` is constant here: the loop multiplies it by `optim.factor` when the score stays behind.
SCHEDULES: Mapping[str, Callable[[OptimConfig, float, int], optax.Schedule]] = {
    "constant": constant,
    "cosine": cosine,
    "one_cycle": one_cycle,
    "plateau": constant,
    "polynomial": polynomial,
    "step": step,
}


def _with_warmup(optim: OptimConfig, lr: float, steps: int, warmup: int) -> optax.Schedule:
    """`warmup` steps of linear growth from lr / warmup to lr, then the schedule over the remaining steps."""
    after = lookup(SCHEDULES, optim.schedule, "optim.schedule")(optim, lr, steps - warmup)
    if warmup == 0:
        return after
    return optax.join_schedules([lambda t: lr * (t + 1) / warmup, after], [warmup])


def build(optim: OptimConfig, *, steps: int, frozen_steps: int = 0, second_lr: float = 0.0) -> optax.Schedule:
    """The learning rate by step.

    Args:
      optim: the group of the configuration; reads `schedule`, `lr`, `warmup_steps` and what the schedule needs.
      steps: of the run.
      frozen_steps: of these, how many with a frozen encoder.
      second_lr: above 0, warm-up and schedule begin anew with this rate after `frozen_steps`.
    """
    if not second_lr or not 0 < frozen_steps < steps:
        return _with_warmup(optim, optim.lr, steps, optim.warmup_steps)
    phases = [
        _with_warmup(optim, rate, length, min(optim.warmup_steps, length - 1))
        for rate, length in ((optim.lr, frozen_steps), (second_lr, steps - frozen_steps))
    ]
    return optax.join_schedules(phases, [frozen_steps])
