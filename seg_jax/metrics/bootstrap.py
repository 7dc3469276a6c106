"""Confidence intervals of a mean IoU: the bootstrap over images (Efron and Tibshirani 1993, chapters 13 and 16).

Pixels of one photograph are not independent; photographs are. So images are resampled with replacement, and the IoU
of each resample is computed from its summed counts, as for the split.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from seg_jax.metrics import counts

RESAMPLES = 1000
RESAMPLES_AT_ONCE = 50  # bounds the memory
SEED = 0
LEVEL = 0.95
_SETTINGS = {"level": LEVEL, "resamples": RESAMPLES, "seed": SEED}


def interval(images: np.ndarray) -> dict[str, Any]:
    """The percentile interval of the mean IoU, 'low' to 'high'; NaN for a single image, which has no spread.

    Args:
      images: counts [n 3 k] of every image.
    """
    scores = _resampled(images)[0] if len(images) > 1 else np.array([np.nan])
    return _limits(scores) | _SETTINGS


def interval_of_mean(members: Sequence[np.ndarray]) -> dict[str, Any]:
    """The percentile interval of the mean IoU averaged over several networks, on the same images.

    Args:
      members: for each network, the counts [n 3 k] of every image.
    """
    return _limits(_resampled(*members).mean(0)) | _SETTINGS


def paired(one: np.ndarray, two: np.ndarray) -> dict[str, Any]:
    """Whether the second of two runs has a higher mean IoU than the first, on the same images.

    Both use the same resamples, so the difficulty of an image affects both alike.

    Args:
      one, two: counts [n 3 k] of the same n images in the same order, at least two.

    Returns:
      'difference' of the mean IoU, second minus first; its interval 'low' to 'high'; and 'p': twice the share of
      resamples in which the difference has the other sign or is 0 (with 1 added to both numbers, Davison and Hinkley
      1997, equation 4.11).

    Raises:
      ValueError: the numbers of images or classes differ, or there is one image only.
    """
    if one.shape != two.shape or len(one) < 2:
        raise ValueError(
            f"counts of shapes {one.shape} and {two.shape}: two runs are compared on the same images, at least two"
        )
    first, second = (counts.mean(counts.iou(images.sum(0))) for images in (one, two))
    differences = np.subtract(*_resampled(two, one))
    against = min((differences <= 0).sum(), (differences >= 0).sum())
    p = min(1.0, 2 * (int(against) + 1) / (len(differences) + 1))
    return {"difference": second - first} | _limits(differences) | {"p": p} | _SETTINGS


def _limits(values: np.ndarray) -> dict[str, float]:
    known = values[~np.isnan(values)]  # a resample without a counted pixel has no score
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) if known.size else (np.nan, np.nan)
    return {"low": float(low), "high": float(high)}


def _resampled(*sets: np.ndarray) -> np.ndarray:
    """float64 [sets, resamples]: mean IoU of each set of counts over the same resamples."""
    rng = np.random.default_rng(SEED)
    n, _, k = sets[0].shape
    flat = [images.reshape(n, -1).astype(np.float64) for images in sets]  # exact below 2**53, and fast to multiply
    scores: list[list[np.ndarray]] = [[] for _ in sets]
    for _ in range(RESAMPLES // RESAMPLES_AT_ONCE):
        times = rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES_AT_ONCE).astype(np.float64)
        for parts, images in zip(scores, flat, strict=True):
            parts.append(counts.means(counts.iou((times @ images).reshape(-1, 3, k))))
    return np.array([np.concatenate(parts) for parts in scores])
