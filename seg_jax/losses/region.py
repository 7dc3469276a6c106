"""Region losses: Tversky, with Dice and Jaccard as special cases.

Each returns (values, weights), float32 [c] for the c regions (`heads.regions`), counted over the whole batch. A class
that does not occur in the batch has weight 0: the mean is over the classes that occur, so its scale does not depend on
their number. (segmentation_models.pytorch divides by all classes, which is the same if all occur.)
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from seg_jax.losses import heads

# (TP, predicted area, true area, weights of the classes), float32 [b c] each.
Overlaps = tuple[jax.Array, jax.Array, jax.Array, jax.Array]

DICE = {"alpha": 0.5, "beta": 0.5}
JACCARD = {"alpha": 1.0, "beta": 1.0}


def tversky(
    logits: jax.Array,
    label: jax.Array,
    *,
    head: str = "softmax",
    class_weights: tuple[float, ...] = (),
    alpha: float = 0.3,
    beta: float = 0.7,
    gamma: float = 1.0,
) -> tuple[jax.Array, jax.Array]:
    """(1 - TP / (TP + alpha FP + beta FN))^gamma of each class, with soft counts.

    Salehi et al. 2017, equation 3; with a gamma other than 1 the focal Tversky loss (Abraham and Khan 2018, equation 4,
    whose 1 / gamma is our gamma).

    Args:
      logits: float [b h w k].
      label, head: see `heads`.
      class_weights: k weights of the classes in the mean, or () for equal ones.
      alpha, beta: weights of false positives and of false negatives.
      gamma: a gamma below 1 weights classes up that are nearly right.
    """
    overlap = overlaps(logits, label, head=head, class_weights=class_weights)
    return index(overlap, alpha=alpha, beta=beta, gamma=gamma)


def overlaps(
    logits: jax.Array, label: jax.Array, *, head: str = "softmax", class_weights: tuple[float, ...] = ()
) -> Overlaps:
    """Soft counts of each image."""
    p, truth, _, weights = heads.regions(logits, label, head=head, class_weights=class_weights)
    tp, predicted, area = (x.sum((1, 2)) for x in (p * truth, p, truth))
    return tp, predicted, area, jnp.broadcast_to(weights, area.shape)


def index(overlap: Overlaps, *, alpha: float, beta: float, gamma: float = 1.0) -> tuple[jax.Array, jax.Array]:
    """`tversky` of a batch, from the counts of its images."""
    *counts, weights = overlap
    tp, predicted, area = (count.sum(0) for count in counts)
    values = 1 - tp / jnp.maximum(tp + alpha * (predicted - tp) + beta * (area - tp), 1e-7)
    if gamma != 1:
        values = jnp.maximum(values, 1e-7) ** gamma  # for gamma < 1 the slope at 0 is infinite
    return jnp.where(area > 0, values, 0.0), jnp.where(area > 0, weights[0], 0.0)


def dice(
    logits: jax.Array, label: jax.Array, *, head: str = "softmax", class_weights: tuple[float, ...] = ()
) -> tuple[jax.Array, jax.Array]:
    """1 - 2 TP / (2 TP + FP + FN) of each class (Milletari et al. 2016); arguments as for `tversky`."""
    return tversky(logits, label, head=head, class_weights=class_weights, **DICE)


def jaccard(
    logits: jax.Array, label: jax.Array, *, head: str = "softmax", class_weights: tuple[float, ...] = ()
) -> tuple[jax.Array, jax.Array]:
    """1 - TP / (TP + FP + FN) of each class (Rahman and Wang 2016); arguments as for `tversky`."""
    return tversky(logits, label, head=head, class_weights=class_weights, **JACCARD)
