"""Losses: per-pixel values and weights, reduced in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import jax
import jax.numpy as jnp

from seg_jax.config import Config, lookup

PixelLoss = Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


def cross_entropy(
    logits: jax.Array, label: jax.Array, *, class_weights: tuple[float, ...] = (), label_smoothing: float = 0.0
) -> tuple[jax.Array, jax.Array]:
    """Softmax cross-entropy of every pixel.

    Args:
      logits: float [b h w k]; computed on in float32.
      label: integer [b h w]; values outside 0..k-1 are ignored.
      class_weights: k weights, or () for equal ones.
      label_smoothing: share e of the target that is spread evenly over all classes (Szegedy et al. 2016):
        the target is (1 - e) * onehot + e / k.

    Returns:
      values and weights, float32 [b h w] each; an ignored pixel has weight 0 (and value 0), another the weight of
      its class.
    """
    log_p, target, valid = _log_softmax(logits, label)
    values = -jnp.take_along_axis(log_p, target[..., None], axis=-1)[..., 0]
    if label_smoothing:
        values = (1 - label_smoothing) * values - label_smoothing * log_p.mean(-1)
    return jnp.where(valid, values, 0.0), _weights(target, valid, class_weights)


def focal(
    logits: jax.Array,
    label: jax.Array,
    *,
    class_weights: tuple[float, ...] = (),
    alpha: float = 0.25,
    gamma: float = 2.0,
) -> tuple[jax.Array, jax.Array]:
    """Softmax focal loss of every pixel, -alpha (1 - p)^gamma log p (Lin et al. 2017, equation 5).

    Args:
      logits, label, class_weights: as for `cross_entropy`.
      alpha: factor of the whole loss; the paper's weight by class is `class_weights`.
      gamma: how much less a pixel counts that is right already; 0 leaves alpha times cross-entropy.

    Returns:
      values and weights, as `cross_entropy`.
    """
    log_p, target, valid = _log_softmax(logits, label)
    log_p = jnp.take_along_axis(log_p, target[..., None], axis=-1)[..., 0]
    # For gamma < 1 the slope at p = 1 is infinite.
    wrong = jnp.maximum(-jnp.expm1(log_p), 1e-7)
    return jnp.where(valid, -alpha * wrong**gamma * log_p, 0.0), _weights(target, valid, class_weights)


def _log_softmax(logits: jax.Array, label: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(log-probabilities, class ids with 0 where ignored, whether a pixel counts)."""
    k = logits.shape[-1]
    valid = (label >= 0) & (label < k)
    target = jnp.where(valid, label, 0).astype(jnp.int32)
    # Before the softmax: an ignored pixel with infinite logits would have a gradient of 0 * inf = NaN.
    return jax.nn.log_softmax(jnp.where(valid[..., None], logits.astype(jnp.float32), 0.0)), target, valid


def _weights(target: jax.Array, valid: jax.Array, class_weights: tuple[float, ...]) -> jax.Array:
    weights = valid.astype(jnp.float32)
    return weights * jnp.asarray(class_weights, jnp.float32)[target] if class_weights else weights


def reduce(values: jax.Array, weights: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(weighted sum, sum of weights) over a batch; their quotient is the mean loss."""
    return (values * weights).sum(), weights.sum()


def mean(total: jax.Array, weight: jax.Array) -> jax.Array:
    """total / weight, and 0 with a zero gradient where everything was ignored."""
    return jnp.where(weight > 0, total / jnp.where(weight > 0, weight, 1.0), 0.0)


def build(loss: Config) -> PixelLoss:
    """The function (logits, label) -> (values, weights) that `config.loss` describes."""
    return lookup(LOSSES, loss.name, "loss.name")(loss)


def _cross_entropy(loss: Config) -> PixelLoss:
    return partial(cross_entropy, class_weights=tuple(loss.class_weights), label_smoothing=loss.label_smoothing)


def _focal(loss: Config) -> PixelLoss:
    return partial(focal, class_weights=tuple(loss.class_weights), alpha=loss.alpha, gamma=loss.gamma)


LOSSES: Mapping[str, Callable[[Config], PixelLoss]] = {"cross_entropy": _cross_entropy, "focal": _focal}
