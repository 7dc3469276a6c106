"""What a run remembers besides the arrays of its state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

# Attribute -> its key in the meta data of a checkpoint.
KEYS = {
    "best": "best",
    "best_step": "best_step",
    "evaluations_without_gain": "without_gain",
    "evaluations_since_reduction": "waited",
    "seconds": "seconds",
}


@dataclass(frozen=True)
class Progress:
    """How far a run has come.

    Attributes:
      best: the highest score so far; None before the first evaluation.
      best_step: its step.
      evaluations_without_gain: number of evaluations since then, for early stopping.
      evaluations_since_reduction: number of evaluations without gain since the schedule `plateau` lowered the rate.
      seconds: duration so far, with evaluations and compilation, without the pauses between processes.
      unreported: 'log' or 'evaluation' -> TP, FP and FN of each class, [3, k], on the training batches since the last.
    """

    best: float | None = None
    best_step: int = 0
    evaluations_without_gain: int = 0
    evaluations_since_reduction: int = 0
    seconds: float = 0.0
    unreported: Mapping[str, list[list[int]]] = field(default_factory=dict)

    def is_gain(self, score: float | None) -> bool:
        """Whether `score`, higher is better, is the best so far; None, for a score that is undefined, never is."""
        return score is not None and (self.best is None or score > self.best)

    def evaluated(self, step: int, score: float | None) -> Progress:
        """After an evaluation of `step`."""
        if self.is_gain(score):
            return replace(self, best=score, best_step=step, evaluations_without_gain=0, evaluations_since_reduction=0)
        return replace(
            self,
            evaluations_without_gain=self.evaluations_without_gain + 1,
            evaluations_since_reduction=self.evaluations_since_reduction + 1,
        )

    def reduced(self) -> Progress:
        """After `plateau` has lowered the learning rate."""
        return replace(self, evaluations_since_reduction=0)

    def restarted(self) -> Progress:
        """At the start of a new schedule: patience is counted anew, the best score stays."""
        return replace(self, evaluations_without_gain=0, evaluations_since_reduction=0)

    def exhausted(self, patience: int) -> bool:
        """Whether early stopping has lost `patience`, a number of evaluations; 0: it never does."""
        return 0 < patience <= self.evaluations_without_gain

    def note(self, metric: str) -> str:
        """The highest score so far in words, 'best mIoU 0.612'; '' before the first evaluation."""
        name = "mIoU" if metric == "miou" else metric
        return "" if self.best is None else f"best {name} {abs(self.best):.3f}"

    def outcome(self, *, split: str, metric: str, patience: int) -> str:
        """One line on how the run went."""
        early = f"stopped early after {self.evaluations_without_gain} evaluations without gain; "
        early = early if self.exhausted(patience) else ""
        if self.best is None:
            return f"{early}not evaluated yet"
        return f"{early}best {split} {metric} {abs(self.best):.4f} at step {self.best_step}"

    def to_json(self) -> dict[str, Any]:
        """JSON values, for the meta data of a checkpoint."""
        return {key: getattr(self, name) for name, key in KEYS.items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Progress:
        """The inverse of `to_json`; what an older checkpoint lacks has its default."""
        return cls(**{name: values[key] for name, key in KEYS.items() if key in values})
