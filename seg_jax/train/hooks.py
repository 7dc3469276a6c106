"""What a Python program adds to a training, besides its configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from seg_jax import losses
from seg_jax.data import Source
from seg_jax.metrics import Report


def nothing(*arguments: Any) -> None:
    """The callback of those who want none."""


@dataclass(frozen=True)
class Hooks:
    """Data, losses and callbacks from Python; by default none. Every process of a run calls its own.

    Attributes:
      source: the examples, in place of the source that `config.data.source` names.
      losses: the functions of the names in `config.loss.own`.
      on_step: (step, {'loss', 'grad_norm', 'lr', 'skipped', ...}) of every finished step, in order, at most a few
        steps late: devices do not wait for Python.
      on_evaluate: (step, report) after every evaluation.
    """

    source: Source | None = None
    losses: Mapping[str, losses.OwnLoss] = field(default_factory=dict)
    on_step: Callable[[int, dict[str, float]], Any] = nothing
    on_evaluate: Callable[[int, Report], Any] = nothing


NO_HOOKS = Hooks()
