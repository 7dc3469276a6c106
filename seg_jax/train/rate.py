"""Changes of the learning rate that no schedule knows in advance: a plateau, and a run that is made longer."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
from jax.sharding import Mesh

from seg_jax.runtime import sharding
from seg_jax.steps.state import TrainState
from seg_jax.train.session import Session


def lowered(session: Session, step: int, state: TrainState) -> TrainState:
    """With the schedule `plateau`, the state with a lower learning rate when the score has not improved."""
    optim, waited = session.config.optim, session.progress.evaluations_since_reduction
    if optim.schedule != "plateau" or waited < optim.patience:
        return state
    session.progress = session.progress.reduced()
    scale = sharding.to_host(state.lr_scale, session.functions.mesh) * optim.factor
    logging.info("step %d: %d evaluations without gain, learning rate now %g of optim.lr", step, waited, scale)
    return _scaled(state, scale, session.functions.mesh)


def begun_anew(session: Session, step: int, state: TrainState) -> TrainState:
    """The state with the whole learning rate again, where `train.extend` begins a new schedule."""
    logging.info("step %d: a new learning-rate schedule begins", step)
    session.progress = session.progress.restarted()
    return _scaled(state, 1.0, session.functions.mesh)


def _scaled(state: TrainState, scale: float, mesh: Mesh) -> TrainState:
    return replace(state, lr_scale=sharding.to_devices(np.float32(scale), mesh))
