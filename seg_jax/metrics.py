"""The confusion matrix, counted on the device, and everything that follows from it.

Rows are truth, columns prediction, ignored pixels count nowhere. A matrix holds exact integers: one step's is
int32, sums over a split are int64 on the host (float32 stops counting at 2**24, int32 at 2**31 pixels).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def confusion_matrix(prediction: jax.Array, label: jax.Array, classes: int) -> jax.Array:
    """int32 [k k] counts of (truth, prediction) over one batch.

    Args:
      prediction: class ids, integer [b h w], 0..k-1.
      label: class ids, integer [b h w]; values outside 0..k-1 are ignored.
      classes: k.
    """

    def one(p: jax.Array, t: jax.Array) -> jax.Array:
        p, t = p.reshape(-1).astype(jnp.int32), t.reshape(-1).astype(jnp.int32)
        # Ignored pixels land in one bin past the end.
        bins = jnp.where((t >= 0) & (t < classes), t * classes + p, classes * classes)
        return jnp.bincount(bins, length=classes * classes + 1)[:-1].reshape(classes, classes)

    # One image at a time, so that a batch that is split over devices is counted where it lies.
    return jax.vmap(one)(prediction, label).sum(0).astype(jnp.int32)


def counts_above(probabilities: jax.Array, label: jax.Array, threshold: float) -> jax.Array:
    """int32 [3 k]: true positives, false positives and false negatives of each class on its own.

    Args:
      probabilities: float [b h w k]; class c is found where its probability exceeds the threshold, so a pixel may
        belong to no class or to several.
      label: class ids, integer [b h w]; values outside 0..k-1 are ignored.
      threshold: in 0..1.
    """
    k = probabilities.shape[-1]
    counted = ((label >= 0) & (label < k))[..., None]
    found, true = (probabilities > threshold) & counted, label[..., None] == jnp.arange(k)
    pairs = (found & true, found & ~true, ~found & true)
    return jnp.stack([pair.sum((0, 1, 2), dtype=jnp.int32) for pair in pairs])


@dataclass(frozen=True)
class Report:
    """Scores of one evaluation, all derived from true positives, false positives and false negatives.

    A class that occurs neither in truth nor in prediction has no IoU: it is NaN here, null in JSON, and left
    out of means (Cordts et al. 2016, the Cityscapes benchmark). Definitions per class: IoU = TP / (TP + FP + FN),
    precision = TP / (TP + FP), recall = TP / (TP + FN). mIoU is the mean IoU over present classes;
    frequency-weighted IoU weights it by the share of truth pixels; mean accuracy is the mean recall over the
    classes that occur in truth (Long et al. 2015, section 5).

    Attributes:
      names: the k class names.
      tp, fp, fn: int64 [k] pixel counts.
      loss: the objective of the training, see the protocol.
      protocol: how it was measured (split, resolution, images, step...), kept beside the figures.
      confusion: int64 [k k], rows truth, columns prediction; None if only the counts are known.
      above: (threshold, counts int64 [3 k] of `counts_above` over the split), if they were asked for.
    """

    names: Sequence[str]
    tp: np.ndarray
    fp: np.ndarray
    fn: np.ndarray
    loss: float = math.nan
    protocol: dict[str, Any] = field(default_factory=dict)
    confusion: np.ndarray | None = None
    above: tuple[float, np.ndarray] | None = None

    @classmethod
    def from_confusion(
        cls,
        confusion: np.ndarray,
        names: Sequence[str],
        *,
        loss: float,
        protocol: dict[str, Any],
        above: tuple[float, np.ndarray] | None = None,
    ) -> Report:
        """The report of a confusion matrix, integer [k k], and of the counts of probabilities above a threshold."""
        confusion = np.asarray(confusion, np.int64)
        tp = np.diag(confusion)
        return cls(
            names=tuple(names),
            tp=tp,
            fp=confusion.sum(0) - tp,
            fn=confusion.sum(1) - tp,
            loss=loss,
            protocol=protocol,
            confusion=confusion,
            above=above,
        )

    @property
    def iou(self) -> np.ndarray:
        """float64 [k]; NaN for absent classes."""
        return _ratio(self.tp, self.tp + self.fp + self.fn)

    @property
    def precision(self) -> np.ndarray:
        """float64 [k]; NaN for classes never predicted."""
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> np.ndarray:
        """float64 [k]; NaN for classes that do not occur in truth."""
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def scores(self) -> dict[str, float]:
        """The scalar figures: loss, miou, fwiou, pixel_accuracy, mean_accuracy; miou_above if it was asked for."""
        truth = self.tp + self.fn
        above = {} if self.above is None else {"miou_above": _mean(_ratio(self.above[1][0], self.above[1].sum(0)))}
        return above | {
            "loss": self.loss,
            "miou": _mean(self.iou),
            "fwiou": float(np.nansum(self.iou * truth) / truth.sum()) if truth.sum() else math.nan,
            "pixel_accuracy": float(self.tp.sum() / truth.sum()) if truth.sum() else math.nan,
            "mean_accuracy": _mean(self.recall),
        }

    def table(self) -> str:
        """The per-class table as text: #TP #FP #FN IoU, the means below."""
        width = max(len("frequency-weighted IoU"), *(len(n) for n in self.names))
        lines = [f"{'class':<{width}} {'#TP':>12} {'#FP':>12} {'#FN':>12} {'IoU':>6}"]
        for name, tp, fp, fn, iou in zip(self.names, self.tp, self.fp, self.fn, self.iou, strict=True):
            lines.append(f"{name:<{width}} {tp:>12d} {fp:>12d} {fn:>12d} {_three(iou)}")
        scores = self.scores
        for label, key in (
            ("mean IoU", "miou"),
            ("frequency-weighted IoU", "fwiou"),
            ("pixel accuracy", "pixel_accuracy"),
            ("mean accuracy", "mean_accuracy"),
        ):
            lines.append(f"{label:<{width}} {'':>12} {'':>12} {'':>12} {_three(scores[key])}")
        if self.above is not None:
            label = f"mean IoU, p > {self.above[0]:g}"
            lines.append(f"{label:<{width}} {'':>12} {'':>12} {'':>12} {_three(scores['miou_above'])}")
        return "\n".join(lines)

    def to_json(self) -> str:
        """Protocol, scores, and one entry per class; NaN becomes null."""
        per_class = [
            {
                "name": name,
                "tp": int(self.tp[i]),
                "fp": int(self.fp[i]),
                "fn": int(self.fn[i]),
                "iou": _null(self.iou[i]),
                "precision": _null(self.precision[i]),
                "recall": _null(self.recall[i]),
            }
            for i, name in enumerate(self.names)
        ]
        content = {
            "protocol": self.protocol,
            "scores": {key: _null(value) for key, value in self.scores.items()},
            "classes": per_class,
            "confusion": None if self.confusion is None else self.confusion.tolist(),
        }
        return json.dumps(content, indent=1) + "\n"


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def _mean(values: np.ndarray) -> float:
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else math.nan


def _three(value: float) -> str:
    return "     -" if math.isnan(value) else f"{value:6.3f}"


def _null(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
