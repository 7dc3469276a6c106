"""The files by which a run directory explains itself: report.json and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seg_jax import viz, writers
from seg_jax.data.images import write_bytes, write_image
from seg_jax.data.labels import LabelTable
from seg_jax.metrics import Report

CURVES = ("loss", "lr", "grad_norm", "miou", "pixel_accuracy")  # of any split, such as train/loss
WIDTH = 1200  # pixels that small panels are enlarged towards, in whole steps


def write(directory: Path, report: Report, panels: Sequence[np.ndarray], table: LabelTable) -> None:
    """Writes `report.json`, `confusion.png` and, where there are panels, `predictions.png`."""
    write_bytes(directory / "report.json", report.to_json().encode())
    if report.confusion is not None:
        write_bytes(directory / "confusion.png", viz.confusion(report.confusion, report.names))
    if panels:
        times = max(1, WIDTH // panels[0].shape[1])
        enlarged = [panel.repeat(times, axis=0).repeat(times, axis=1) for panel in panels]
        write_image(directory / "predictions.png", viz.sheet(enlarged, table))


def write_curves(workdir: Path) -> None:
    """Writes `curves.png` from the run's metrics.jsonl."""
    series: dict[str, list[tuple[int, float]]] = {}
    for line in writers.read(workdir):
        for name, value in line.items():
            _, _, kind = name.partition("/")
            if kind in CURVES and value is not None:
                series.setdefault(name, []).append((line["step"], value))
    if series:
        write_bytes(workdir / "curves.png", viz.curves(series))
