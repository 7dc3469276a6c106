"""Two classes: the scores at each threshold of the probability of class 1."""

from __future__ import annotations

from typing import Any

import numpy as np

from seg_jax.metrics import counts

THRESHOLDS = np.round(np.arange(0.05, 1.0, 0.05), 2).astype(np.float32)


def histogram(probability: np.ndarray, label: np.ndarray) -> np.ndarray:
    """int64 [2 t+1]: pixels of truth 0 and 1, by the number of the t `THRESHOLDS` that their probability exceeds.

    Args:
      probability: probability of class 1, float32 [n].
      label: 0 or 1, integer [n].
    """
    exceeded = np.searchsorted(THRESHOLDS, probability, side="left")
    size = len(THRESHOLDS) + 1
    return np.bincount(label.astype(np.int64) * size + exceeded, minlength=2 * size).reshape(2, size)


def figures(table: np.ndarray) -> dict[str, Any]:
    """Scores of class 1 at every threshold, and the threshold with the highest IoU.

    The best threshold is chosen on the pixels it is scored on: take it from one split and use it on another.

    Args:
      table: sums of `histogram`.
    """
    # Positive at threshold i: pixels that exceed more than i thresholds.
    positive = table.sum(1, keepdims=True) - np.cumsum(table, axis=1)[:, :-1]
    tp, fp = positive[1], positive[0]
    fn = table[1].sum() - tp
    by_threshold = np.stack([tp, fp, fn])
    scores = {f.__name__: f(by_threshold) for f in (counts.iou, counts.dice, counts.precision, counts.recall)}
    rows = [
        {"threshold": round(float(t), 2)} | {name: values[i] for name, values in scores.items()}
        for i, t in enumerate(THRESHOLDS)
    ]
    return {"rows": rows, "best": max(rows, key=lambda row: np.nan_to_num(row["iou"]))}
