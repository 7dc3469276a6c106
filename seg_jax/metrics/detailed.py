"""What is counted on the host from the probabilities of one image after the other: everything but the confusion."""

from __future__ import annotations

from typing import Any

import numpy as np

from seg_jax.data.labels import IGNORE
from seg_jax.metrics import boundary, calibration, cityscapes, counts, thresholds


class Counter:
    """Sums over the images of a split.

    Args:
      names: of the k classes.
      n: how many images the split has.

    Attributes:
      totals: {name: int64 or float64 array}; over several processes they add up.
    """

    def __init__(self, names: tuple[str, ...], n: int):
        k, w = len(names), len(boundary.WIDTHS)
        self.names = names
        self.totals: dict[str, np.ndarray] = {
            "confusion": np.zeros((k, k), np.int64),
            "images": np.zeros((n, 3, k), np.int64),
            "above": np.zeros((n, 3, k), np.int64),
            "boundary": np.zeros((3, k), np.int64),
            "bands": np.zeros((w, 3, k), np.int64),
            "calibration": np.zeros((1 + w, 3, k, calibration.BINS)),
            "scores": np.zeros(3),
            "thresholds": np.zeros((2, len(thresholds.THRESHOLDS) + 1), np.int64),
            "instances": np.zeros((2, 2, len(cityscapes.SIZES))),
            "with_instances": np.zeros(1, np.int64),
        }

    def add(
        self, index: int, probabilities: np.ndarray, label: np.ndarray, instances: np.ndarray | None = None
    ) -> np.ndarray:
        """Counts one image and gives its prediction, class ids uint8 [h w].

        Args:
          index: of the image in its split.
          probabilities: float32 [h w k].
          label: class ids, uint8 [h w], 255 = ignore.
          instances: values of Cityscapes' `instanceIds` [h w], if there are any.
        """
        k, totals = len(self.names), self.totals
        prediction = probabilities.argmax(-1).astype(np.uint8)
        confusion = counts.confusion_of(prediction, label, k)
        totals["confusion"] += confusion
        totals["images"][index] = counts.of_confusion(confusion)
        totals["boundary"] += boundary.boundary_counts(prediction, label, k)
        valid = label != IGNORE
        p, truth, seen = probabilities[valid], label[valid], prediction[valid]
        confidence = np.take_along_axis(p, seen[:, None].astype(np.int64), axis=1)[:, 0]
        right = seen == truth
        totals["scores"] += calibration.scores(p, truth)
        totals["calibration"][0] += calibration.histogram(confidence, seen, right, k)
        for i, band in enumerate(boundary.bands(label)):
            here = band[valid]
            totals["bands"][i] += counts.of_confusion(counts.confusion_of(seen[here], truth[here], k))
            totals["calibration"][i + 1] += calibration.histogram(confidence[here], seen[here], right[here], k)
        true = np.take_along_axis(p, truth[:, None].astype(np.int64), axis=1)[:, 0]
        tp, there = np.bincount(truth[true > 0.5], minlength=k), np.bincount(truth, minlength=k)
        totals["above"][index] = tp, (p > 0.5).sum(0) - tp, there - tp
        if k == 2:
            totals["thresholds"] += thresholds.histogram(p[:, 1], truth)
        if instances is not None:
            totals["instances"] += cityscapes.instance_counts(prediction, instances, self.names)
            totals["with_instances"] += 1
        return prediction

    def figures(self) -> dict[str, Any]:
        """The figures of the split, by subject."""
        totals = self.totals
        found = {
            "boundary": {"ratio": boundary.RATIO} | self._iou(totals["boundary"]),
            "trimap": {
                str(width): self._iou(band) for width, band in zip(boundary.WIDTHS, totals["bands"], strict=True)
            },
            "calibration": calibration.figures(totals["calibration"], totals["scores"], self.names, boundary.WIDTHS),
        }
        return found | ({"thresholds": thresholds.figures(totals["thresholds"])} if len(self.names) == 2 else {})

    def _iou(self, table: np.ndarray) -> dict[str, Any]:
        iou = counts.iou(table)
        return {"miou": counts.mean(iou), "iou": dict(zip(self.names, iou.tolist(), strict=True))}
