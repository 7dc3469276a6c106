"""Losses: values and weights of pixels or classes, reduced by one function, and their weighted sum."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seg_jax.config import ConfigError, LossConfig
from seg_jax.losses import boundary, lovasz, pixel, region
from seg_jax.losses.heads import HEADS, probabilities

__all__ = ["HEADS", "LOSSES", "Loss", "Objective", "OwnLoss", "Split", "build", "mean", "probabilities", "reduce"]

Array = jax.Array | np.ndarray
# (logits [b h w k], label, a teacher's logits or None) -> (values, weights) of one shape.
Loss = Callable[[jax.Array, jax.Array, Any], tuple[jax.Array, jax.Array]]
# A program's own: (logits [b h w k], label [b h w]) -> its mean, float32 [], or (values, weights) of one shape.
OwnLoss = Callable[[jax.Array, jax.Array], Any]


@dataclass(frozen=True)
class Split:
    """A loss in two parts: what it sees in each example by itself, and what it makes of a batch.

    Attributes:
      seen: (logits [b h w k], label, a teacher's logits or None) -> arrays [b ...], far smaller than the logits. Those
        of a batch are those of its examples, one after the other.
      judged: these arrays -> (values, weights) of one shape.
    """

    seen: Callable[[jax.Array, jax.Array, Any], Any]
    judged: Callable[[Any], tuple[jax.Array, jax.Array]] = lambda seen: seen

    def __call__(self, logits: jax.Array, label: jax.Array, teacher: Any) -> tuple[jax.Array, jax.Array]:
        """A `Loss`."""
        return self.judged(self.seen(logits, label, teacher))


def reduce(values: jax.Array, weights: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(weighted sum, sum of weights) over a batch; their quotient is the mean loss."""
    return (values * weights).sum(), weights.sum()


def mean(total: Array, weight: Array) -> jax.Array:
    """total / weight; 0 with a zero gradient where everything was ignored."""
    return jnp.where(weight > 0, total / jnp.where(weight > 0, weight, 1.0), 0.0)


@dataclass(frozen=True)
class Objective:
    """The weighted sum of the means of t losses.

    Attributes:
      weights: {name: factor of the loss's mean}, in the order of the axis [t].
      losses: {name: function}, with the same names.
    """

    weights: Mapping[str, float]
    losses: Mapping[str, Loss]

    def __call__(self, logits: jax.Array, label: jax.Array, teacher: Any = None) -> tuple[jax.Array, jax.Array]:
        """Totals and weights of each loss, see `reduce`: float32 [t] each; they may be summed over batches.

        Pixel losses are then averaged over all pixels, region losses over the classes that occur in each batch.

        Args:
          logits: float [b h w k].
          label: see `heads.target`.
          teacher: a teacher's logits, of the shape of `logits`; None without a teacher.
        """
        return self.judged(self.seen(logits, label, teacher))

    @property
    def split(self) -> bool:
        """Whether all losses see each example by itself, so that `seen` needs one at a time."""
        return all(isinstance(loss, Split) for loss in self.losses.values())

    def seen(self, logits: jax.Array, label: jax.Array, teacher: Any = None) -> tuple[Any, ...]:
        """What each loss sees, see `Split`; of a loss that is in one part, its values and weights."""
        batch = (logits, label, teacher)
        return tuple(loss.seen(*batch) if isinstance(loss, Split) else loss(*batch) for loss in self.losses.values())

    def judged(self, seen: tuple[Any, ...]) -> tuple[jax.Array, jax.Array]:
        """The results of a call, from what was seen."""
        pairs = zip(self.losses.values(), seen, strict=True)
        reduced = [reduce(*(loss.judged(arrays) if isinstance(loss, Split) else arrays)) for loss, arrays in pairs]
        totals, weights = zip(*reduced, strict=True)
        return jnp.stack(totals), jnp.stack(weights)

    def value(self, totals: Array, weights: Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """(the objective, {name: mean of each loss}), float32 []."""
        means = dict(zip(self.weights, mean(totals, weights), strict=True))
        return jnp.asarray(sum(weight * means[name] for name, weight in self.weights.items())), means


def build(loss: LossConfig, *, own: Mapping[str, OwnLoss] = MappingProxyType({})) -> Objective:
    """The objective that `config.loss` describes: the losses whose weight is positive, and those in `loss.own`.

    Args:
      loss: the configuration.
      own: the functions of the names in `loss.own`.

    Raises:
      ConfigError: one of them is missing.
    """
    weights = {name: loss.weights[name] for name in LOSSES if loss.weights[name] > 0}
    losses = {name: LOSSES[name](loss) for name in weights}
    for name, weight in loss.own:
        if name not in own:
            raise ConfigError(
                f"config.loss.own = {loss.own!r}: the loss {name!r} is a function of the Python program that started "
                f"this run. Call seg_jax.train with losses={{{name!r}: ({weight:g}, FUNCTION)}}; an evaluation does "
                "without them: --config.loss.own='()'."
            )
        weights[name], losses[name] = weight, _own(own[name], name)
    return Objective(weights=weights, losses=losses)


def _own(function: OwnLoss, name: str) -> Loss:
    """The values and weights of a program's loss; a mean counts once for each batch."""

    def loss(logits: jax.Array, label: jax.Array, teacher: Any) -> tuple[jax.Array, jax.Array]:
        result = function(logits, label)
        values, weights = result if isinstance(result, tuple) else (result, jnp.ones(()))
        if jnp.shape(values) != jnp.shape(weights):
            raise ConfigError(
                f"the loss {name!r} gives an array of shape {jnp.shape(values)}. Return its mean over the pixels that "
                "count, float32 [], or (values, weights) of one shape with weight 0 at ignored pixels."
            )
        return jnp.asarray(values, jnp.float32), jnp.asarray(weights, jnp.float32)

    return loss


def _loss(function: Callable[..., Any], loss: LossConfig, **options: Any) -> Callable[[jax.Array, jax.Array, Any], Any]:
    """A loss, or what it sees, without a teacher."""
    common = {"head": loss.head, "class_weights": tuple(loss.class_weights)}
    return lambda logits, label, teacher: function(logits, label, **common, **options)


def _region(loss: LossConfig, **options: float) -> Split:
    return Split(_loss(region.overlaps, loss), lambda overlaps: region.index(overlaps, **options))


def _distillation(loss: LossConfig) -> Split:
    return Split(
        lambda logits, label, teacher: pixel.distillation(
            logits, teacher, label, head=loss.head, temperature=loss.temperature
        )
    )


LOSSES: Mapping[str, Callable[[LossConfig], Loss]] = {
    "cross_entropy": lambda loss: Split(_loss(pixel.cross_entropy, loss, label_smoothing=loss.label_smoothing)),
    "focal": lambda loss: Split(_loss(pixel.focal, loss, alpha=loss.focal.alpha, gamma=loss.focal.gamma)),
    "ohem": lambda loss: Split(
        _loss(pixel.cross_entropy, loss),
        lambda seen: pixel.hardest(*seen, share=loss.ohem.share, threshold=loss.ohem.threshold),
    ),
    "dice": lambda loss: _region(loss, **region.DICE),
    "jaccard": lambda loss: _region(loss, **region.JACCARD),
    "tversky": lambda loss: _region(loss, alpha=loss.tversky.alpha, beta=loss.tversky.beta, gamma=loss.tversky.gamma),
    "lovasz": lambda loss: _loss(lovasz.lovasz, loss),
    "boundary": lambda loss: _loss(boundary.boundary, loss),
    "distillation": _distillation,
}
