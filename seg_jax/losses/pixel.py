"""Pixel losses.

Each returns (values, weights), float32 [b h w]; with the head 'sigmoid' [b h w k], one for each pixel and class.
Ignored pixels have value and weight 0. Logits are float [b h w k] and computed with in float32; for labels and heads
see `heads`.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from seg_jax.losses import heads


def cross_entropy(
    logits: jax.Array,
    label: jax.Array,
    *,
    head: str = "softmax",
    class_weights: tuple[float, ...] = (),
    label_smoothing: float = 0.0,
) -> tuple[jax.Array, jax.Array]:
    """Cross-entropy of truth and prediction.

    Args:
      logits, label, head: see the module.
      class_weights: k weights, or () for equal ones; a pixel has the weight of its class.
      label_smoothing: share e in 0..1 of the target that is spread evenly over all outcomes (Szegedy et al. 2016): the
        target is (1 - e) * truth + e / k; with the head 'sigmoid', whose outcomes are two, (1 - e) * truth + e / 2.
    """
    x, truth, valid = heads.read(logits, label)
    k = x.shape[-1]
    if head == "sigmoid":
        soft = (1 - label_smoothing) * truth + label_smoothing / 2
        # softplus(x) - t x = -(t log s(x) + (1 - t) log s(-x))
        return _counted(jax.nn.softplus(x) - soft * x, valid, truth, head, class_weights)
    soft = (1 - label_smoothing) * truth + label_smoothing / k
    return _counted(-(soft * jax.nn.log_softmax(x)).sum(-1), valid, truth, head, class_weights)


def focal(
    logits: jax.Array,
    label: jax.Array,
    *,
    head: str = "softmax",
    class_weights: tuple[float, ...] = (),
    alpha: float = 0.25,
    gamma: float = 2.0,
) -> tuple[jax.Array, jax.Array]:
    """Focal loss, -alpha (1 - p)^gamma log p with p the probability of the true class (Lin et al. 2017, equation 5).

    Args:
      logits, label, head, class_weights: as for `cross_entropy`.
      alpha: in 0..1. With the heads 'sigmoid' and 'binary' the weight of the positive outcome (the class is present;
        class 1), and 1 - alpha that of the negative one. With the head 'softmax' a factor of the whole loss.
      gamma: strength by which pixels that are already right are weighted down; 0 leaves alpha times cross-entropy.
    """
    x, truth, valid = heads.read(logits, label)
    if head == "sigmoid":
        log_p = jax.nn.log_sigmoid(jnp.where(truth > 0.5, x, -x))
        balance = jnp.where(truth > 0.5, alpha, 1 - alpha)
    else:
        log_p = (truth * jax.nn.log_softmax(x)).sum(-1)
        balance = truth @ jnp.array([1 - alpha, alpha]) if head == "binary" else jnp.asarray(alpha)
    # For gamma < 1 the slope at p = 1 is infinite.
    wrong = jnp.maximum(-jnp.expm1(log_p), 1e-7)
    return _counted(-balance * wrong**gamma * log_p, valid, truth, head, class_weights)


def ohem(
    logits: jax.Array,
    label: jax.Array,
    *,
    head: str = "softmax",
    class_weights: tuple[float, ...] = (),
    share: float = 0.1,
    threshold: float = 0.7,
) -> tuple[jax.Array, jax.Array]:
    """Cross-entropy of the hard pixels only: online hard example mining (Shrivastava et al. 2016).

    A pixel is hard if its true class has a probability below `threshold`, or if its cross-entropy is among the largest
    `share` of the batch. A threshold of 0 leaves the top-k pixels (Wu et al. 2016), a share of 0 the threshold alone.

    Args:
      logits, label, head, class_weights: as for `cross_entropy`.
      share: in 0..1, of the counted pixels of the whole batch; their number is rounded up.
      threshold: probability in 0..1.
    """
    values, weights = cross_entropy(logits, label, head=head, class_weights=class_weights)
    return hardest(values, weights, share=share, threshold=threshold)


def hardest(values: jax.Array, weights: jax.Array, *, share: float, threshold: float) -> tuple[jax.Array, jax.Array]:
    """Values and weights of a batch, with weights only where pixels are hard; arguments as for `ohem`."""
    # The bits of floats >= 0, read as integers, have the floats' order; -1 is below all of them.
    bits = jax.lax.bitcast_convert_type(jnp.abs(jax.lax.stop_gradient(values)), jnp.int32)
    bits = jnp.where(weights > 0, bits, -1)
    count = jnp.ceil(share * (bits >= 0).sum()).astype(jnp.int32)
    hard = bits >= _largest(bits, count)
    if threshold > 0:
        hard |= values > -math.log(threshold)
    return values, jnp.where(hard, weights, 0.0)


def distillation(
    logits: jax.Array, teacher: jax.Array, label: jax.Array, *, head: str = "softmax", temperature: float = 2.0
) -> tuple[jax.Array, jax.Array]:
    """T^2 KL(teacher | student) of the probabilities at the temperature T (Hinton et al. 2015).

    Args:
      logits, head: the student's logits and head.
      teacher: the teacher's logits, of the same shape; no gradient flows into them.
      label: says which pixels are ignored, as for the other losses.
      temperature: T > 0, by which both logits are divided.
    """
    x, truth, valid = heads.read(logits, label)
    y = jax.lax.stop_gradient(heads.read(teacher, label)[0])
    x, y = x / temperature, y / temperature
    if head == "sigmoid":
        log_p, log_q = (jnp.stack([jax.nn.log_sigmoid(-z), jax.nn.log_sigmoid(z)], -1) for z in (x, y))
    else:
        log_p, log_q = jax.nn.log_softmax(x), jax.nn.log_softmax(y)
    values = temperature**2 * (jnp.exp(log_q) * (log_q - log_p)).sum(-1)
    return _counted(values, valid, truth, head, ())


def _counted(
    values: jax.Array, valid: jax.Array, truth: jax.Array, head: str, class_weights: tuple[float, ...]
) -> tuple[jax.Array, jax.Array]:
    """Values with 0 where ignored, and their weights: by the pixel's class, or with 'sigmoid' by each class."""
    by_class = heads.weights_of(class_weights, truth.shape[-1])
    if head == "sigmoid":
        valid, weights = valid[..., None], jnp.broadcast_to(by_class, truth.shape)
    else:
        weights = (truth * by_class).sum(-1) if class_weights else jnp.ones_like(values)
    return jnp.where(valid, values, 0.0), jnp.where(valid, weights, 0.0)


def _largest(bits: jax.Array, count: jax.Array) -> jax.Array:
    """The `count`-th largest integer, determined bit by bit; 2^31 - 1 for a count of 0.

    Sorting a batch would gather it on every device; each of these 31 rounds sums one number over the devices.
    """

    def refine(i: jax.Array, value: jax.Array) -> jax.Array:
        larger = value | (1 << (30 - i))
        return jnp.where((bits >= larger).sum() >= count, larger, value)

    return jax.lax.fori_loop(0, 31, refine, jnp.int32(0))
