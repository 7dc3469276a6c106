"""True positives, false positives and false negatives: counting them, and the ratios derived from them.

Counts are arrays [... 3 k] of (TP, FP, FN) for each of k classes, exact integers.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np


def confusion_matrices(prediction: jax.Array, label: jax.Array, classes: int) -> jax.Array:
    """int32 [b k k] counts of (truth, prediction), one matrix for each image.

    Args:
      prediction: class ids, integer [b h w], 0..k-1.
      label: class ids, integer [b h w]; values outside 0..k-1 are ignored.
      classes: number of classes k.
    """

    def one(p: jax.Array, t: jax.Array) -> jax.Array:
        p, t = p.reshape(-1).astype(jnp.int32), t.reshape(-1).astype(jnp.int32)
        # Ignored pixels go into one bin past the end.
        bins = jnp.where((t >= 0) & (t < classes), t * classes + p, classes * classes)
        return jnp.bincount(bins, length=classes * classes + 1)[:-1].reshape(classes, classes).astype(jnp.int32)

    # One image at a time, so that each device counts its own part of a batch.
    return jax.vmap(one)(prediction, label)


def confusion_of_logits(logits: jax.Array, label: jax.Array) -> jax.Array:
    """`confusion_matrices` of the classes with the largest logits [b h w k]."""
    return confusion_matrices(logits.argmax(-1), label, logits.shape[-1])


def confusion_of(prediction: np.ndarray, label: np.ndarray, classes: int) -> np.ndarray:
    """int64 [k k]: the confusion matrix of one image of any shape, counted on the host."""
    valid = label < classes
    bins = label[valid].astype(np.int64) * classes + prediction[valid]
    return np.bincount(bins, minlength=classes * classes).reshape(classes, classes)


def of_confusion(confusion: jax.Array | np.ndarray) -> tuple:
    """Confusion matrices [... k k] (NumPy or JAX) -> (TP, FP, FN), each [... k]."""
    tp = confusion.diagonal(axis1=-2, axis2=-1)
    return tp, confusion.sum(-2) - tp, confusion.sum(-1) - tp


def above(probabilities: jax.Array, label: jax.Array, threshold: float) -> jax.Array:
    """int32 [b 3 k]: (TP, FP, FN) of each image and class, thresholded independently of the others.

    Args:
      probabilities: float [b h w k]; class c is predicted where its probability exceeds the threshold, so a pixel may
        belong to no class or to several.
      label: class ids, integer [b h w]; values outside 0..k-1 are ignored.
      threshold: in 0..1.
    """
    k = probabilities.shape[-1]
    counted = ((label >= 0) & (label < k))[..., None]
    predicted, true = (probabilities > threshold) & counted, label[..., None] == jnp.arange(k)
    pairs = (predicted & true, predicted & ~true, ~predicted & true)
    return jnp.stack([pair.sum((1, 2), dtype=jnp.int32) for pair in pairs], axis=1)


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole in float64; NaN where the whole is 0."""
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def iou(counts: np.ndarray) -> np.ndarray:
    """TP / (TP + FP + FN), float64 [... k]; NaN for classes that occur neither in truth nor in prediction."""
    return ratio(counts[..., 0, :], counts.sum(-2))


def dice(counts: np.ndarray) -> np.ndarray:
    """2 TP / (2 TP + FP + FN) (Dice 1945), float64 [... k]; NaN as for `iou`."""
    tp = counts[..., 0, :]
    return ratio(2 * tp, counts.sum(-2) + tp)


def precision(counts: np.ndarray) -> np.ndarray:
    """TP / (TP + FP), float64 [... k]; NaN for classes never predicted."""
    return ratio(counts[..., 0, :], counts[..., 0, :] + counts[..., 1, :])


def recall(counts: np.ndarray) -> np.ndarray:
    """TP / (TP + FN), float64 [... k]; NaN for classes that do not occur in truth."""
    return ratio(counts[..., 0, :], counts[..., 0, :] + counts[..., 2, :])


def means(values: np.ndarray) -> np.ndarray:
    """Mean along the last axis over the values that are not NaN; NaN where there is none."""
    present = ~np.isnan(values)
    return ratio(np.where(present, values, 0.0).sum(-1), present.sum(-1))


def mean(values: np.ndarray) -> float:
    """The mean over all values that are not NaN; NaN where there is none."""
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else math.nan
