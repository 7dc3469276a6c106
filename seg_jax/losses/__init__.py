"""Losses: values and weights of pixels or classes, reduced in one place, and their weighted sum."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seg_jax.config import LossConfig
from seg_jax.losses import boundary, lovasz, pixel, region
from seg_jax.losses.heads import HEADS, probabilities

__all__ = ["HEADS", "LOSSES", "Loss", "Objective", "build", "mean", "probabilities", "reduce"]

Array = jax.Array | np.ndarray
# (logits [b h w k], label, logits of a teacher or None) -> (values, weights) of one shape.
Loss = Callable[[jax.Array, jax.Array, Any], tuple[jax.Array, jax.Array]]


def reduce(values: jax.Array, weights: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(weighted sum, sum of weights) over a batch; their quotient is the mean loss."""
    return (values * weights).sum(), weights.sum()


def mean(total: Array, weight: Array) -> jax.Array:
    """total / weight, and 0 with a zero gradient where everything was ignored."""
    return jnp.where(weight > 0, total / jnp.where(weight > 0, weight, 1.0), 0.0)


@dataclass(frozen=True)
class Objective:
    """The weighted sum of the means of t losses.

    Attributes:
      weights: {name: factor of its mean}, in the order of every array [t].
      losses: {name: function}, the same names.
    """

    weights: Mapping[str, float]
    losses: Mapping[str, Loss]

    def __call__(self, logits: jax.Array, label: jax.Array, taught: Any = None) -> tuple[jax.Array, jax.Array]:
        """What `reduce` gives for each loss: totals and weights, float32 [t]; sums of them over batches add up.

        Losses of pixels then have their mean over all pixels, losses of regions their mean over the classes that occur
        in each batch.
        """
        totals, weights = zip(*(reduce(*loss(logits, label, taught)) for loss in self.losses.values()), strict=True)
        return jnp.stack(totals), jnp.stack(weights)

    def value(self, totals: Array, weights: Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """(the objective, {name: mean of each loss}), float32 []."""
        means = dict(zip(self.weights, mean(totals, weights), strict=True))
        return jnp.asarray(sum(weight * means[name] for name, weight in self.weights.items())), means


def build(loss: LossConfig) -> Objective:
    """The objective that `config.loss` describes: the losses whose weight is positive."""
    weights = {name: loss.weights[name] for name in LOSSES if loss.weights[name] > 0}
    return Objective(weights=weights, losses={name: LOSSES[name](loss) for name in weights})


def _loss(function: Callable[..., tuple[jax.Array, jax.Array]], loss: LossConfig, **options: Any) -> Loss:
    """A loss of logits and label alone."""
    common = {"head": loss.head, "class_weights": tuple(loss.class_weights)}
    return lambda logits, label, taught: function(logits, label, **common, **options)


def _distillation(loss: LossConfig) -> Loss:
    return lambda logits, label, taught: pixel.distillation(
        logits, taught, label, head=loss.head, temperature=loss.temperature
    )


LOSSES: Mapping[str, Callable[[LossConfig], Loss]] = {
    "cross_entropy": lambda loss: _loss(pixel.cross_entropy, loss, label_smoothing=loss.label_smoothing),
    "focal": lambda loss: _loss(pixel.focal, loss, alpha=loss.focal.alpha, gamma=loss.focal.gamma),
    "ohem": lambda loss: _loss(pixel.ohem, loss, share=loss.ohem.share, threshold=loss.ohem.threshold),
    "dice": lambda loss: _loss(region.dice, loss),
    "jaccard": lambda loss: _loss(region.jaccard, loss),
    "tversky": lambda loss: _loss(
        region.tversky, loss, alpha=loss.tversky.alpha, beta=loss.tversky.beta, gamma=loss.tversky.gamma
    ),
    "lovasz": lambda loss: _loss(lovasz.lovasz, loss),
    "boundary": lambda loss: _loss(boundary.boundary, loss),
    "distillation": _distillation,
}
