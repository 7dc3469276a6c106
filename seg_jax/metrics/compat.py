"""The figures that other codebases would print for the same predictions, each with its definition.

They differ in what is averaged over and in the score of an absent class; see docs/evaluation.md. Ignored pixels are
always left out first.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from seg_jax.metrics import counts


def figures(confusion: np.ndarray, images: np.ndarray, above: np.ndarray | None = None) -> dict[str, Any]:
    """{codebase: {'definition': text, figure: value}}.

    Args:
      confusion: int64 [k k] of the split.
      images: int64 [n 3 k], counts of every image.
      above: int64 [n 3 k], counts with probabilities thresholded at 0.5, see `counts.above`; None where unknown.
    """
    total = np.stack(counts.of_confusion(confusion))
    printed = {
        "image-segmentation-keras": _keras_segmentation(total),
        "segmentation_models.pytorch": _smp(images),
        "mmsegmentation": _mmsegmentation(total),
    }
    return printed if above is None else {"TASM": _tasm(above)} | printed


def _tasm(above: np.ndarray) -> dict[str, Any]:
    tp, union = above[:, 0].astype(np.float64), above.sum(1)
    return {
        "definition": "IOUScore(threshold=0.5): (TP + 1e-5) / (TP + FP + FN + 1e-5) of every class of every image, "
        "found where its probability exceeds 0.5; mean over classes and images (an absent class scores 1)",
        "iou_score": float(((tp + 1e-5) / (union + 1e-5)).mean()) if tp.size else np.nan,
    }


def _keras_segmentation(total: np.ndarray) -> dict[str, Any]:
    iou = total[0] / (total.sum(0) + 1e-12)
    share = counts.ratio(total[0] + total[2], np.full(len(iou), (total[0] + total[2]).sum()))
    return {
        "definition": "evaluate(): TP / (TP + FP + FN + 1e-12) over the split; mean over all classes (an absent class "
        "scores 0), or weighted by the share of truth pixels",
        "mean_IU": float(iou.mean()),
        "frequency_weighted_IU": float((iou * share).sum()),
        "class_wise_IU": iou.tolist(),
    }


def _smp(images: np.ndarray) -> dict[str, Any]:
    def iou(tp: np.ndarray, union: np.ndarray) -> float:
        ratio = counts.ratio(tp, union)
        return float(np.where(np.isnan(ratio), 1.0, ratio).mean()) if ratio.size else np.nan

    tp, union = images[:, 0], images.sum(1)
    return {
        "definition": "get_stats(mode='multiclass', ignore_index=255), iou_score(reduction=...): micro: one IoU over "
        "all classes and images; macro: mean over all classes of the IoU over the split; imagewise: the same of every "
        "image, then the mean over images; 0 / 0 is 1",
        "micro": iou(tp.sum(), union.sum()),
        "macro": iou(tp.sum(0), union.sum(0)),
        "micro-imagewise": iou(tp.sum(1), union.sum(1)),
        "macro-imagewise": iou(tp, union),
    }


def _mmsegmentation(total: np.ndarray) -> dict[str, Any]:
    def percent(value: float) -> float:
        return round(100 * value, 2)

    truth = total[0] + total[2]
    return {
        "definition": "IoUMetric: sums of intersection and union over the split; mIoU and mAcc are means over the "
        "classes that have one, in percent with two decimals",
        "aAcc": percent(float(counts.ratio(total[0].sum(), truth.sum()))),
        "mIoU": percent(counts.mean(counts.iou(total))),
        "mAcc": percent(counts.mean(counts.recall(total))),
    }
