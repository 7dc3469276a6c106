"""Scores on the training batches: augmented, before each step's update, with dropout and the batch's statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from seg_jax.metrics import Report
from seg_jax.train.health import Health

SCORES = ("miou", "pixel_accuracy")
PROTOCOL = "training batches since the evaluation before, as they were trained on; exact: --mode=eval on this split"


class TrainingScores:
    """What the finished steps have predicted, from one log line or evaluation to the next.

    Args:
      health: counts the pixels.
      names: of the classes.
      unreported: what a resumed run had counted before, as `unreported` gave it.
    """

    def __init__(self, health: Health, names: Sequence[str], unreported: Mapping[str, list[list[int]]]):
        self._health, self._names = health, names
        nothing = np.zeros((3, len(names)), np.int64)
        self._then = {last: nothing - unreported.get(last, nothing) for last in ("log", "evaluation")}
        self.note = ""  # the newest mean IoU, for the progress bar

    def since(self, last: str) -> Report | None:
        """The report on the steps since the last 'log' or 'evaluation'; None where no step was finished."""
        counts = self._health.counts - self._then[last]
        self._then[last] = self._then[last] + counts
        return Report(self._names, *counts) if counts.any() else None

    def unreported(self) -> dict[str, list[list[int]]]:
        """'log' or 'evaluation' -> TP, FP and FN since then, [3, k]: a run resumes with them as if it had not ended."""
        return {last: (self._health.counts - then).tolist() for last, then in self._then.items()}

    def logged(self) -> dict[str, float]:
        """`SCORES` since the last log line; {} where no step was finished."""
        report = self.since("log")
        if report is None:
            return {}
        self.note = f"train mIoU {report.scores['miou']:.3f}"
        return {name: report.scores[name] for name in SCORES}

    def section(self) -> dict[str, Any]:
        """{'train': scores since the last evaluation}, a section of its report; {} where no step was finished."""
        report = self.since("evaluation")
        if report is None:
            return {}
        iou = dict(zip(report.names, report.iou, strict=True))
        return {"train": {name: report.scores[name] for name in SCORES} | {"iou": iou, "of": PROTOCOL}}
