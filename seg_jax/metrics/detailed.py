"""The counts of a detailed evaluation, taken on the host from the probabilities of one image after the other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from seg_jax.data.labels import ignored_in
from seg_jax.metrics import boundary, calibration, cityscapes, counts, thresholds


class Counter:
    """Sums over the images of a split.

    Args:
      names: the k class names.
      n: number of images in the split.
      threshold: probability above which each class is scored independently, besides 0.5; 0: none.

    Attributes:
      totals: {name: int64 or float64 array}; the totals of several processes are added.
    """

    def __init__(self, names: tuple[str, ...], n: int, *, threshold: float = 0.0):
        k, w = len(names), len(boundary.WIDTHS)
        self.names, self.threshold = names, threshold
        self.totals: dict[str, np.ndarray] = {
            "confusion": np.zeros((k, k), np.int64),
            "images": np.zeros((n, 3, k), np.int64),
            "above": np.zeros((n, 3, k), np.int64),
            "above_threshold": np.zeros((3, k), np.int64),
            "boundary": np.zeros((3, k), np.int64),
            "bands": np.zeros((w, 3, k), np.int64),
            "calibration": np.zeros((1 + w, 3, k, calibration.BINS)),
            "scores": np.zeros(3),
            "thresholds": np.zeros((2, len(thresholds.THRESHOLDS) + 1), np.int64),
            "instances": np.zeros((2, 2, len(cityscapes.SIZES))),
            "with_instances": np.zeros(1, np.int64),
        }

    def add(
        self, index: int, bands: Iterable[np.ndarray], label: np.ndarray, instances: np.ndarray | None = None
    ) -> np.ndarray:
        """Counts one image and returns its prediction, class ids uint8 [h w].

        Only one band of probabilities is in memory at a time, besides the class ids of the image.

        Args:
          index: the image's index in its split.
          bands: probabilities, float32 [rows w k] each; together they make up the image from top to bottom.
          label: class ids, uint8 [h w], 255 = ignore.
          instances: values of Cityscapes' `instanceIds` [h w], if there are any.
        """
        k, w, totals = len(self.names), len(boundary.WIDTHS), self.totals
        prediction, nearest = np.zeros_like(label), boundary.nearest(label)
        # By the index of the distance to the next class; the band of a width also contains all nearer pixels.
        confusion = np.zeros((w + 1, k, k), np.int64)
        confidences = np.zeros((w + 1, 3, k, calibration.BINS))
        top = 0
        for band in bands:
            rows = slice(top, top + len(band))
            top += len(band)
            prediction[rows] = band.argmax(-1)
            valid = label[rows] != ignored_in(label)
            p, truth, predicted, near = (array[valid] for array in (band, label[rows], prediction[rows], nearest[rows]))
            confidence, true = (
                np.take_along_axis(p, ids[:, None].astype(np.int64), axis=1)[:, 0] for ids in (predicted, truth)
            )
            right = predicted == truth
            for i in range(w + 1):
                here = near == i
                confusion[i] += counts.confusion_of(predicted[here], truth[here], k)
                confidences[i] += calibration.histogram(confidence[here], predicted[here], right[here], k)
            totals["scores"] += calibration.scores(p, truth)
            totals["above"][index] += _above(p, truth, true, 0.5)
            if self.threshold:
                totals["above_threshold"] += _above(p, truth, true, self.threshold)
            if k == 2:
                totals["thresholds"] += thresholds.histogram(p[:, 1], truth)
        totals["confusion"] += confusion.sum(0)
        totals["images"][index] = counts.of_confusion(confusion.sum(0))
        totals["bands"] += np.stack(counts.of_confusion(confusion.cumsum(0)[:w]), axis=1)
        totals["calibration"] += np.concatenate([confidences.sum(0)[None], confidences.cumsum(0)[:w]])
        totals["boundary"] += boundary.boundary_counts(prediction, label, k)
        if instances is not None:
            totals["instances"] += cityscapes.instance_counts(prediction, instances, self.names)
            totals["with_instances"] += 1
        return prediction

    def figures(self) -> dict[str, Any]:
        """The figures of the split, by subject."""
        totals = self.totals
        figures = {
            "boundary": {"ratio": boundary.RATIO} | self._iou(totals["boundary"]),
            "trimap": {
                str(width): self._iou(band) for width, band in zip(boundary.WIDTHS, totals["bands"], strict=True)
            },
            "calibration": calibration.figures(totals["calibration"], totals["scores"], self.names, boundary.WIDTHS),
        }
        return figures | ({"thresholds": thresholds.figures(totals["thresholds"])} if len(self.names) == 2 else {})

    def _iou(self, table: np.ndarray) -> dict[str, Any]:
        iou = counts.iou(table)
        return {"miou": counts.mean(iou), "iou": dict(zip(self.names, iou.tolist(), strict=True))}


def _above(p: np.ndarray, truth: np.ndarray, true: np.ndarray, threshold: float) -> np.ndarray:
    """(TP, FP, FN) of each class, int64 [3 k], see `counts.above`; `true` [n] are the true classes' entries of `p`."""
    k = p.shape[1]
    tp, area = np.bincount(truth[true > threshold], minlength=k), np.bincount(truth, minlength=k)
    return np.stack([tp, (p > threshold).sum(0) - tp, area - tp])
