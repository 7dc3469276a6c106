"""Calibration of probabilities: expected calibration error, Brier score, negative log-likelihood."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from seg_jax.metrics import counts

BINS = 15  # bins of confidence; Guo et al. 2017, section 4


def histogram(confidence: np.ndarray, prediction: np.ndarray, right: np.ndarray, classes: int) -> np.ndarray:
    """float64 [3 k BINS]: pixels, correct pixels, and summed confidence, by predicted class and bin of confidence.

    Args:
      confidence: probability of the predicted class, float [n], in 0..1. Bin m is ((m - 1) / BINS, m / BINS].
      prediction: class ids, integer [n].
      right: whether the prediction is correct, bool [n].
      classes: number of classes k.
    """
    bins = np.clip(np.ceil(confidence.astype(np.float64) * BINS).astype(np.int64) - 1, 0, BINS - 1)
    cells = prediction.astype(np.int64) * BINS + bins
    columns = (None, right, confidence)
    return np.stack(
        [np.bincount(cells, weights=w, minlength=classes * BINS).reshape(classes, BINS) for w in columns]
    ).astype(np.float64)


def scores(probabilities: np.ndarray, label: np.ndarray) -> np.ndarray:
    """float64 [3]: number of pixels, their summed Brier score, their summed negative log-likelihood.

    Args:
      probabilities: float [n k].
      label: class ids, integer [n], none ignored.
    """
    true = np.take_along_axis(probabilities, label[:, None].astype(np.int64), axis=1)[:, 0].astype(np.float64)
    squares = np.einsum("nk,nk->n", probabilities, probabilities, dtype=np.float64)
    # Sum over classes of (p - y)^2 = sum of p^2 - 2 p_true + 1.
    tiny = float(np.finfo(np.float32).tiny)  # the log of a probability that float32 rounds to 0 would be infinite
    return np.array([len(label), (squares - 2 * true + 1).sum(), -np.log(np.maximum(true, tiny)).sum()])


def error(table: np.ndarray) -> float:
    """Expected calibration error of a histogram [3 BINS]: sum over bins of (n_b / n) |accuracy_b - confidence_b|.

    Guo et al. 2017, equation 5. NaN without pixels.
    """
    n, right, confidence = table
    return float(np.abs(right - confidence).sum() / n.sum()) if n.sum() else math.nan


def figures(tables: np.ndarray, sums: np.ndarray, names: tuple[str, ...], widths: tuple[int, ...]) -> dict[str, Any]:
    """The figures of a split.

    Args:
      tables: float64 [1 + w 3 k BINS], sums of `histogram`: over all pixels, then over each band.
      sums: float64 [3], sums of `scores`.
      names: class names.
      widths: widths of the w bands, in pixels.
    """
    whole = tables[0].sum(1)
    n, right, confidence = whole
    return {
        "ece": error(whole),
        "ece_classes": {name: error(tables[0][:, i]) for i, name in enumerate(names)},
        "ece_bands": {str(width): error(table.sum(1)) for width, table in zip(widths, tables[1:], strict=True)},
        "brier": sums[1] / sums[0] if sums[0] else math.nan,
        "nll": sums[2] / sums[0] if sums[0] else math.nan,
        "bins": {
            "pixels": n.astype(np.int64),
            "accuracy": counts.ratio(right, n),
            "confidence": counts.ratio(confidence, n),
        },
    }
