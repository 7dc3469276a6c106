"""The state before the first step: random values, or the weights that the configuration names in their place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from seg_jax import models
from seg_jax.config import Config
from seg_jax.optim import Optimizer
from seg_jax.run import pretrained
from seg_jax.runtime import sharding, xla
from seg_jax.steps.state import TrainState

SIDE = 32  # parameters do not depend on the size of the image; the smallest one makes the trace cheap


def variables(network: Any, config: Config) -> tuple[Any, Any]:
    """(params, model_state) of random values, with a leading axis of members in an ensemble."""

    def begin(seed: Any) -> tuple[Any, Any]:
        return models.init(network, jax.random.key(seed), (1, SIDE, SIDE, len(config.data.bands) or 3))

    members, seed = config.train.seeds, config.seed
    return begin(seed) if members == 1 else jax.vmap(begin)(seed + jnp.arange(members))


def random_state(network: Any, optimizer: Optimizer, config: Config) -> TrainState:
    """The state at step 0 with random parameters."""

    def begin(params: Any, model_state: Any) -> TrainState:
        return TrainState.begin(params, model_state, optimizer.init(params), averaged=config.optim.ema > 0)

    params, model_state = variables(network, config)
    if config.train.seeds == 1:
        return begin(params, model_state)
    states = jax.vmap(begin)(params, model_state)
    return replace(states, step=states.step[0], lr_scale=states.lr_scale[0])


def state(
    network: Any,
    optimizer: Optimizer,
    config: Config,
    mesh: Mesh,
    *,
    places: TrainState,
    names: Sequence[str],
) -> TrainState:
    """The state at step 0 on the devices.

    Args:
      network, optimizer: of the run.
      config: the whole configuration, resolved.
      mesh: the devices.
      places: the sharding of every array.
      names: of the classes, see `pretrained.start`.

    Raises:
      WeightsError: the configured weights do not fit, see `pretrained.start`.
    """
    begin = jax.jit(
        lambda: random_state(network, optimizer, config), out_shardings=places, compiler_options=xla.for_one_call()
    )
    random = begin()
    host = sharding.to_host({"params": random.params, "model_state": random.model_state}, mesh)
    if (members := config.train.seeds) == 1:
        params, model_state = pretrained.start(config, network, **host, names=names)
    else:
        each = [jax.tree.map(lambda array, i=i: array[i], host) for i in range(members)]
        started = [pretrained.start(config, network, **one, names=names) for one in each]
        params, model_state = jax.tree.map(lambda *arrays: np.stack(arrays), *started)
    begun = TrainState.begin(params, model_state, {}, averaged=bool(random.ema))
    begun = sharding.to_devices(begun, mesh)
    return begun.replace(opt_state=random.opt_state, skipped=random.skipped)
