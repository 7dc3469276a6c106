"""Learning-rate schedules by name; time is counted in steps."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

import optax

from seg_jax.config import OptimConfig, lookup

# one_cycle starts at lr / START_DIVISOR and ends at that / END_DIVISOR, as in the paper's reference code.
START_DIVISOR, END_DIVISOR = 25.0, 1e4


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
    """`lr`, multiplied by `optim.factor` at each of `optim.milestones`, which are shares (0..1) of the run."""
    bounds = [round(share * steps) for share in optim.milestones]
    return lambda t: lr * optim.factor ** sum((t >= bound) * 1.0 for bound in bounds)


def one_cycle(optim: OptimConfig, lr: float, steps: int) -> optax.Schedule:
    """From lr / 25 up to `lr` over 0.3 of the run, then down to lr / 250,000, both along half a cosine (Smith 2018)."""
    del optim
    if steps < 2:
        return optax.constant_schedule(lr)
    return optax.cosine_onecycle_schedule(
        steps, lr, pct_start=0.3, div_factor=START_DIVISOR, final_div_factor=END_DIVISOR
    )


# `plateau` is constant here: the training loop multiplies it by `optim.factor` when the score stops improving.
SCHEDULES: Mapping[str, Callable[[OptimConfig, float, int], optax.Schedule]] = {
    "constant": constant,
    "cosine": cosine,
    "one_cycle": one_cycle,
    "plateau": constant,
    "polynomial": polynomial,
    "step": step,
}

ENDLESS = ("constant", "plateau")  # schedules that do not depend on the length of the run


def _with_warmup(optim: OptimConfig, lr: float, steps: int, warmup: int) -> optax.Schedule:
    """Linear growth from lr / warmup to lr over `warmup` steps, then the schedule over the remaining steps."""
    after = lookup(SCHEDULES, optim.schedule, "optim.schedule")(optim, lr, steps - warmup)
    if warmup == 0:
        return after
    return optax.join_schedules([lambda t: lr * (t + 1) / warmup, after], [warmup])


def build(
    optim: OptimConfig, *, steps: int, frozen_steps: int = 0, second_lr: float = 0.0, restarts: Sequence[int] = ()
) -> optax.Schedule:
    """The learning rate by step.

    Args:
      optim: the group of the configuration; reads `schedule`, `lr`, `warmup_steps` and the schedule's own fields.
      steps: length of the run.
      frozen_steps: number of steps, at its start, with a frozen encoder.
      second_lr: above 0, warm-up and schedule begin anew with this rate after `frozen_steps`.
      restarts: steps after which warm-up and schedule begin anew, with the rate of the phase before.
    """
    first, *rest = (end - begin for begin, end in itertools.pairwise((0, *restarts, steps)))
    lr, schedule = optim.lr, _with_warmup(optim, optim.lr, first, optim.warmup_steps)
    if second_lr and 0 < frozen_steps < first:
        lr = second_lr
        phases = [
            _with_warmup(optim, rate, length, min(optim.warmup_steps, length - 1))
            for rate, length in ((optim.lr, frozen_steps), (second_lr, first - frozen_steps))
        ]
        schedule = optax.join_schedules(phases, [frozen_steps])
    if not rest:
        return schedule
    return optax.join_schedules(
        [schedule, *(_with_warmup(optim, lr, length, optim.warmup_steps) for length in rest)], list(restarts)
    )
