"""TrainState: the arrays of a training run, and nothing else."""

from __future__ import annotations

from typing import Any

import flax.struct
import jax


@flax.struct.dataclass
class TrainState:
    """Everything that a step changes.

    Attributes:
      step: int32 [], the number of finished steps.
      params: trainable parameters, float32.
      model_state: running statistics of batch normalisation, float32.
      opt_state: state of the optimizer.
    """

    step: jax.Array
    params: Any
    model_state: Any
    opt_state: Any
