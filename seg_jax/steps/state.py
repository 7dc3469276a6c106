"""TrainState: the arrays of a training run, and nothing else."""

from __future__ import annotations

from typing import Any, ClassVar

import flax.struct
import jax
import jax.numpy as jnp


@flax.struct.dataclass
class TrainState:
    """Everything that a step changes.

    Attributes:
      step: int32 [], the number of finished steps.
      params: trainable parameters, float32.
      model_state: running statistics of batch normalisation, float32.
      opt_state: state of the optimizer.
      lr_scale: float32 [], factor of the learning rate, which the schedule `plateau` reduces.
      skipped: int32 [], how many steps changed nothing because loss or gradient was not finite.
      ema: {'params', 'model_state'} averaged over the steps; {} without `optim.ema`.

    In an ensemble all but `step` and `lr_scale` have a leading axis, of its members.
    """

    OWN: ClassVar = ("params", "model_state", "opt_state", "skipped", "ema")  # of each member of an ensemble

    step: jax.Array
    params: Any
    model_state: Any
    opt_state: Any
    lr_scale: jax.Array
    skipped: jax.Array
    ema: Any

    @classmethod
    def begin(cls, params: Any, model_state: Any, opt_state: Any, *, averaged: bool = False) -> TrainState:
        """The state before the first step; `averaged` keeps an average of the weights."""
        ema = {"params": params, "model_state": model_state} if averaged else {}
        zero = jnp.zeros((), jnp.int32)
        return cls(zero, params, model_state, opt_state, lr_scale=jnp.ones((), jnp.float32), skipped=zero, ema=ema)

    def weights(self, *, averaged: bool) -> dict[str, Any]:
        """{'params', 'model_state'}: those that are trained, or their average where there is one."""
        return self.ema if averaged and self.ema else {"params": self.params, "model_state": self.model_state}
