"""Comparison of runs: scores, costs, obstacles to comparing them, and whether they differ significantly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from seg_jax import viz
from seg_jax.config import ConfigError
from seg_jax.data.images import read_image
from seg_jax.metrics import Images, bootstrap
from seg_jax.report import AGAIN, enlarged, read, read_curves, read_images
from seg_jax.report.html import Table
from seg_jax.run.directory import ReportFiles, RunDirectory
from seg_jax.runtime import documents
from seg_jax.runtime.documents import number

# Fields of the protocol that may differ between comparable runs; any other difference makes scores incomparable.
MAY_DIFFER = ("step", "left_out", "loss", "loss_weights")


@dataclass(frozen=True)
class Run:
    """A run, read from its run directory or from the directory of one of its evaluations.

    Attributes:
      name: the name by which it was requested.
      directory: the directory of its report.
      root: the run directory.
      report: the content of report.json.
      facts: the content of run.json; {} for an unfinished run.
      images: counts of single images, if stored.
    """

    name: str
    directory: Path
    root: Path
    report: dict[str, Any]
    facts: dict[str, Any]
    images: Images | None

    @classmethod
    def load(cls, name: str) -> Run:
        """Reads a run.

        Args:
          name: RUN for the report written in training, or RUN/eval/SPLIT-STEP for the report of an evaluation.

        Raises:
          ConfigError: there is no report, or it cannot be read.
        """
        directory = Path(name).expanduser().resolve()
        files = ReportFiles(directory)
        run = RunDirectory.around(directory) or RunDirectory(directory)
        if not files.report.is_file():
            raise ConfigError(
                f"{name} has no {files.report.name}. Pass a run directory that was evaluated in training, or one of "
                "its RUN/eval/SPLIT-STEP, which --mode=eval writes."
            )
        report, facts, facts_file = read(files.report), {}, run.facts_file
        if facts_file.is_file():
            facts = documents.parse(
                facts_file.read_bytes(), FACTS, name=facts_file, error=ConfigError, cure="remove or restore it"
            )
        images = read_images(directory)
        if images is not None and images.counts.shape[2] != len(report["classes"]):
            raise ConfigError(f"{files.images} has other classes than {files.report.name}; {AGAIN}.")
        return cls(name, directory, run.path, report, facts, images)

    @cached_property
    def iou(self) -> dict[str, float | None]:
        """{class: IoU, None where it has none}."""
        return {entry["name"]: entry["iou"] for entry in self.report["classes"]}


@dataclass(frozen=True)
class Comparison:
    """Several runs; the others are compared with the first one.

    Attributes:
      runs: at least one.
      absent: sentences on runs that were asked for and are not there.
    """

    runs: Sequence[Run]
    absent: Sequence[str] = ()

    @cached_property
    def flags(self) -> dict[str, list[str]]:
        """{run: differences of its protocol from the first one's}; comparable runs are left out."""
        differences = {run.name: self._differences(run) for run in self.runs[1:]}
        return {name: reasons for name, reasons in differences.items() if reasons}

    def _differences(self, run: Run) -> list[str]:
        first, reasons = self.runs[0], []
        if list(run.iou) != list(first.iou):
            reasons.append(f"classes are {', '.join(run.iou)}, there {', '.join(first.iou)}")
        ours, theirs = run.report["protocol"], first.report["protocol"]
        for key in {**theirs, **ours}:
            if key not in MAY_DIFFER and ours.get(key) != theirs.get(key):
                reasons.append(f"{key} is {ours.get(key)!r}, there {theirs.get(key)!r}")
        if not reasons and run.images and first.images and run.images.names != first.images.names:
            reasons.append("the images are others, or in another order")
        return reasons

    @property
    def notes(self) -> list[str]:
        """The absent runs, the flags and their consequences as sentences."""
        first, notes = self.runs[0], list(self.absent)
        for name, reasons in self.flags.items():
            notes.append(f"{name} cannot be compared with {first.name}: {'; '.join(reasons)}")
        for run in self.runs[1:]:
            if run.report["protocol"].get("loss_weights") != first.report["protocol"].get("loss_weights"):
                notes.append(f"{run.name} has another objective than {first.name}: their losses cannot be compared")
        return notes

    @cached_property
    def paired(self) -> dict[str, dict[str, Any]]:
        """{run: `bootstrap.paired` with the first run}, for comparable runs with counts of single images."""
        first = self.runs[0].images
        return {
            run.name: bootstrap.paired(first.counts, run.images.counts)
            for run in self.runs[1:]
            if run.name not in self.flags and first and run.images and len(first.names) > 1
        }

    def tables(self) -> list[Table]:
        """Scores, costs, and the IoU of every class."""
        scores, costs = [], []
        for run in self.runs:
            s, interval, p = run.report["scores"], run.report.get("interval") or {}, self.paired.get(run.name)
            scores.append(
                [
                    run.name,
                    str(run.report["protocol"].get("step", "-")),
                    _number(s.get("loss"), 4),
                    _number(s.get("pixel_accuracy")),
                    _number(s.get("miou")),
                    f"{_number(interval['low'])} to {_number(interval['high'])}"
                    if interval.get("low") is not None
                    else "-",
                    f"{p['difference']:+.3f} ({p['low']:+.3f} to {p['high']:+.3f})" if p else "-",
                    _number(p["p"]) if p else "-",
                ]
            )
            costs.append([run.name, *(_amount(run.facts.get(key), unit) for key, unit in _COSTS.values())])
        names = list(dict.fromkeys(name for run in self.runs for name in run.iou))
        per_class = [[name, *(_number(run.iou.get(name)) for run in self.runs)] for name in names]
        titles = ["run", "step", "loss", "pixel accuracy", "mIoU", "95 % interval", "mIoU minus first", "p"]
        return [
            Table("Scores", titles, scores),
            Table("Costs", ["run", *_COSTS], costs),
            Table("IoU of classes", ["class", *(run.name for run in self.runs)], per_class),
        ]

    def content(self) -> dict[str, Any]:
        """The whole comparison as values for JSON."""
        return {
            "runs": [
                {"name": run.name, "scores": run.report["scores"], "interval": run.report.get("interval")}
                | {"iou": run.iou, "protocol": run.report["protocol"], "facts": run.facts}
                for run in self.runs
            ],
            "absent": list(self.absent),
            "flags": self.flags,
            "paired": self.paired,
        }

    def curves(self) -> bytes | None:
        """PNG of the curves of all runs, one plot for each quantity; None without any."""
        series = [read_curves(run.root) for run in self.runs]
        return viz.curves(*series, labels=[run.name for run in self.runs]) if any(series) else None

    def panels(self) -> np.ndarray | None:
        """Photographs side by side: image, truth, then each comparable run's prediction, uint8 [h w 3]; or None."""
        runs = [run for run in self.runs if run.name not in self.flags]
        stored = [ReportFiles(run.directory).panels() for run in runs]
        rows = []
        for index in sorted(set.intersection(*(set(paths) for paths in stored))):
            pictures = {paths[index]: read_image(paths[index]) for paths in stored}
            if len({picture.shape for picture in pictures.values()}) > 1:
                raise ConfigError(f"{', '.join(map(str, pictures))} differ in size; {AGAIN}.")
            panels = [viz.parts(picture) for picture in pictures.values()]
            rows.append(viz.row([*panels[0][:2], *(panel[2] for panel in panels)]))
        if not rows:
            return None
        table = RunDirectory(self.runs[0].root).table()
        return viz.sheet(enlarged(rows), table, titles=["image", "truth", *(run.name for run in runs)])


FACTS = dict.fromkeys(("parameters?", "flops_per_image?", "seconds?", "peak_memory_bytes?"), (number, None))

# Column -> (entry of run.json, unit).
_COSTS = {
    "parameters": ("parameters", (1e6, "M")),
    "FLOPs an image": ("flops_per_image", (1e9, "G")),
    "training time": ("seconds", (60, "min")),
    "peak memory a device": ("peak_memory_bytes", (2**20, "MiB")),
}


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _amount(value: float | None, unit: tuple[float, str]) -> str:
    return "-" if value is None else f"{value / unit[0]:.2f} {unit[1]}"
