"""The files by which a run directory explains itself: report.json and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seg_jax import viz, writers
from seg_jax.data.images import write_bytes, write_image
from seg_jax.data.labels import LabelTable
from seg_jax.metrics import Report

CURVES = (
    ("train/loss", "train/lr", "train/grad_norm"),
    ("val/loss", "val/miou", "val/pixel_accuracy"),
)


def write(directory: Path, report: Report, panels: Sequence[np.ndarray], table: LabelTable) -> None:
    """Writes `report.json`, `confusion.png` and, where there are panels, `predictions.png`."""
    write_bytes(directory / "report.json", report.to_json().encode())
    if report.confusion is not None:
        write_bytes(directory / "confusion.png", viz.confusion(report.confusion, report.names))
    if panels:
        write_image(directory / "predictions.png", viz.sheet(panels, table))


def write_curves(workdir: Path) -> None:
    """Writes `curves.png` from the run's metrics.jsonl."""
    lines = writers.read(workdir)
    series = {}
    for name in (name for row in CURVES for name in row):
        points = [(line["step"], line[name]) for line in lines if line.get(name) is not None]
        if points:
            series[name] = points
    if series:
        write_bytes(workdir / "curves.png", viz.curves(series))
