"""The confusion matrix, counted on the device, and the scores derived from it.

Rows are truth, columns prediction; ignored pixels are not counted. Entries are exact integers: int32 for one step,
int64 for sums over a split on the host (float32 stops counting at 2**24, int32 at 2**31 pixels).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from seg_jax.metrics import bootstrap, counts
from seg_jax.metrics.counts import above, confusion_matrices, confusion_of_logits, of_confusion
from seg_jax.runtime.quoting import printable

__all__ = ["Images", "Report", "above", "confusion_matrices", "confusion_of_logits", "of_confusion", "plain"]

MIN_CONFUSION = 0.05  # share of a class's pixels from which a confusion is listed
MAX_LISTED = 10  # worst images, and confusions, in a report


@dataclass(frozen=True)
class Images:
    """Counts of single images: n names, and int64 [n 3 k] of (TP, FP, FN)."""

    names: tuple[str, ...]
    counts: np.ndarray

    @property
    def miou(self) -> np.ndarray:
        """float64 [n]: mean over the classes that occur in the image or its prediction; NaN if all is ignored."""
        return counts.means(counts.iou(self.counts))

    def worst(self) -> list[int]:
        """Indices of the images with the lowest `miou`, the worst first, at most `MAX_LISTED`."""
        order = np.argsort(self.miou, kind="stable")
        return [int(i) for i in order[:MAX_LISTED] if not np.isnan(self.miou[i])]


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
      loss: value of the training objective, see the protocol.
      protocol: how it was measured (split, resolution, images, step...), stored beside the figures.
      confusion: int64 [k k], rows truth, columns prediction; None if only the counts are known.
      above: (threshold, counts int64 [3 k] of `counts.above` over the split), if requested.
      images: counts of every image, if known.
      sections: further figures by subject, such as 'compat' or 'boundary'; see docs/evaluation.md.
    """

    names: Sequence[str]
    tp: np.ndarray
    fp: np.ndarray
    fn: np.ndarray
    loss: float = math.nan
    protocol: dict[str, Any] = field(default_factory=dict)
    confusion: np.ndarray | None = None
    above: tuple[float, np.ndarray] | None = None
    images: Images | None = None
    sections: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_confusion(cls, confusion: np.ndarray, names: Sequence[str], **fields: Any) -> Report:
        """The report of a confusion matrix, integer [k k]; `fields` are further attributes."""
        confusion = np.asarray(confusion, np.int64)
        tp, fp, fn = of_confusion(confusion)
        return cls(names=tuple(names), tp=tp, fp=fp, fn=fn, confusion=confusion, **fields)

    @property
    def counts(self) -> np.ndarray:
        """int64 [3 k]: tp, fp, fn."""
        return np.stack([self.tp, self.fp, self.fn])

    @property
    def iou(self) -> np.ndarray:
        """float64 [k]; NaN for absent classes."""
        return counts.iou(self.counts)

    @property
    def dice(self) -> np.ndarray:
        """float64 [k]; NaN for absent classes."""
        return counts.dice(self.counts)

    @property
    def precision(self) -> np.ndarray:
        """float64 [k]; NaN for classes never predicted."""
        return counts.precision(self.counts)

    @property
    def recall(self) -> np.ndarray:
        """float64 [k]; NaN for classes that do not occur in truth."""
        return counts.recall(self.counts)

    @property
    def scores(self) -> dict[str, float]:
        """The scalar scores: loss, miou, mean_dice, fwiou, pixel_accuracy, mean_accuracy; miou_above if requested."""
        truth = self.tp + self.fn
        above = {} if self.above is None else {"miou_above": counts.mean(counts.iou(self.above[1]))}
        return {
            "loss": self.loss,
            "miou": counts.mean(self.iou),
            **above,
            "mean_dice": counts.mean(self.dice),
            "fwiou": float(np.nansum(self.iou * truth) / truth.sum()) if truth.sum() else math.nan,
            "pixel_accuracy": float(self.tp.sum() / truth.sum()) if truth.sum() else math.nan,
            "mean_accuracy": counts.mean(self.recall),
        }

    def confused(self) -> list[str]:
        """Sentences on the confusions that take the largest share of a class's pixels, the largest first."""
        if self.confusion is None:
            return []
        return _confusions(self.confusion, [printable(name) for name in self.names])

    def table(self) -> str:
        """The per-class table as text: #TP #FP #FN IoU, with the means below."""
        names = [printable(name) for name in self.names]
        width = max(len("frequency-weighted IoU"), *(len(name) for name in names))
        lines = [f"{'class':<{width}} {'#TP':>12} {'#FP':>12} {'#FN':>12} {'IoU':>6}"]
        for name, tp, fp, fn, iou in zip(names, self.tp, self.fp, self.fn, self.iou, strict=True):
            lines.append(f"{name:<{width}} {tp:>12d} {fp:>12d} {fn:>12d} {_three_digits(iou)}")
        scores = self.scores
        for label, key in (
            ("mean IoU", "miou"),
            ("mean Dice", "mean_dice"),
            ("frequency-weighted IoU", "fwiou"),
            ("pixel accuracy", "pixel_accuracy"),
            ("mean accuracy", "mean_accuracy"),
        ):
            lines.append(f"{label:<{width}} {'':>12} {'':>12} {'':>12} {_three_digits(scores[key])}")
        if self.above is not None:
            label = f"mean IoU, p > {self.above[0]:g}"
            lines.append(f"{label:<{width}} {'':>12} {'':>12} {'':>12} {_three_digits(scores['miou_above'])}")
        if seeds := self.sections.get("seeds"):
            lines.append(f"{len(seeds['seeds'])} seeds, each by itself: {spread(seeds['miou'])} mean IoU")
        return "\n".join(lines)

    def to_json(self) -> str:
        """Protocol, scores, and one entry per class; NaN becomes null."""
        figures = {name: getattr(self, name) for name in ("iou", "dice", "precision", "recall")}
        per_class = [
            {"name": name, "tp": self.tp[i], "fp": self.fp[i], "fn": self.fn[i]}
            | {figure: values[i] for figure, values in figures.items()}
            for i, name in enumerate(self.names)
        ]
        content = {
            "protocol": self.protocol,
            "scores": self.scores,
            "classes": per_class,
            "confused": self.confused(),
            "confusion": self.confusion,
        }
        if self.images is not None:
            miou = self.images.miou
            content["interval"] = bootstrap.interval(self.images.counts)
            content["worst"] = [{"name": self.images.names[i], "miou": miou[i]} for i in self.images.worst()]
        return json.dumps(plain(content | self.sections), indent=1) + "\n"


def spread(values: dict[str, Any]) -> str:
    """{'mean', 'deviation'} -> '0.612 +- 0.008'."""
    return f"{values['mean']:.3f} +- {values['deviation']:.3f}"


def plain(value: Any) -> Any:
    """A value that JSON can represent: arrays become lists, NumPy numbers Python numbers, NaN and infinity null."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value


def _confusions(confusion: np.ndarray, names: Sequence[str]) -> list[str]:
    truth = confusion.sum(1, keepdims=True)
    shares = np.divide(confusion, truth, out=np.zeros(confusion.shape), where=truth > 0)
    np.fill_diagonal(shares, 0)
    order = np.argsort(-shares, axis=None, kind="stable")[:MAX_LISTED]
    pairs = [(int(i) // len(names), int(i) % len(names)) for i in order]
    return [
        f"{names[t]} is taken for {names[p]} in {100 * shares[t, p]:.0f} % of its pixels"
        for t, p in pairs
        if shares[t, p] >= MIN_CONFUSION
    ]


def _three_digits(value: float) -> str:
    return "     -" if math.isnan(value) else f"{value:6.3f}"
