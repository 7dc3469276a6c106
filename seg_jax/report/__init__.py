"""The report of a run directory: report.json and pictures."""

from __future__ import annotations

import io
import json
import logging
import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from seg_jax import viz
from seg_jax.config import ConfigError
from seg_jax.data.images import write_image
from seg_jax.data.labels import LabelTable
from seg_jax.metrics import Images, Report
from seg_jax.run import log
from seg_jax.run.directory import ReportFiles, RunDirectory
from seg_jax.runtime import documents
from seg_jax.runtime.documents import number
from seg_jax.runtime.files import write_bytes

AGAIN = "evaluate the run again"  # the cure for a damaged report
FORM = {
    "protocol": {"step?": (int, None)},
    "scores": {str: (number, None)},
    "classes": [{"name": str, "iou": (number, None)}],
    "interval?": ({"low": (number, None), "high": (number, None)}, None),
}

# A line of the log, such as train/loss or val/iou/sky; names of splits may have slashes, and so may those of classes.
METRIC = re.compile(r"(?P<split>.+?)/(?P<kind>(?:iou|precision|recall|loss)/.+|[^/]+)", re.DOTALL)
CURVES = ("loss", "lr", "grad_norm", "miou", "pixel_accuracy")  # plotted for every split, such as train/loss
MOST_CLASSES = 40  # on one page of curves
PANEL_WIDTH = 1200  # pixels up to which small panels are enlarged by whole factors


def write(
    directory: Path,
    report: Report,
    panels: Mapping[int, np.ndarray],
    table: LabelTable,
    *,
    worst: Mapping[int, np.ndarray] | None = None,
) -> None:
    """Writes `report.json`, `images.npz`, `confusion.png` and, where there are panels, `predictions.png`.

    Args:
      directory: the directory to write to.
      report: the report of one evaluation.
      panels: {index of an example: its `viz.panel`}; each is also written to `panels/INDEX.png`, for comparisons.
      table: names and colours of the classes.
      worst: panels of the worst images, for `worst.png`.
    """
    files = ReportFiles(directory)
    write_bytes(files.report, report.to_json().encode())
    if report.images is not None:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, names=np.array(json.dumps(report.images.names)), counts=report.images.counts)
        write_bytes(files.images, buffer.getvalue())
    if report.confusion is not None:
        write_bytes(files.confusion, viz.confusion(report.confusion, report.names))
    for index, panel in panels.items():
        write_image(files.panel(index), panel)
    for path, pictures in ((files.predictions, panels), (files.worst, worst)):
        if pictures:
            write_image(path, viz.sheet(enlarged(list(pictures.values())), table))


def enlarged(panels: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Small panels, enlarged by a whole factor to about `PANEL_WIDTH`."""
    times = max(1, PANEL_WIDTH // max(panel.shape[1] for panel in panels))
    return [panel.repeat(times, axis=0).repeat(times, axis=1) for panel in panels]


def read(path: Path) -> dict[str, Any]:
    """The content of a report.json.

    Raises:
      ConfigError: it is damaged, or of another form.
    """
    return documents.parse(path.read_bytes(), FORM, name=path, error=ConfigError, cure=AGAIN)


def read_images(directory: Path) -> Images | None:
    """The counts of single images that `write` stored; None without them.

    Raises:
      ConfigError: the file is damaged.
    """
    path = ReportFiles(directory).images
    if not path.is_file():
        return None
    try:
        with np.load(io.BytesIO(path.read_bytes())) as stored:  # given a path, it leaves damaged files open
            names, counts = str(stored["names"]), stored["counts"]
    except (ValueError, KeyError, EOFError, OSError, BadZipFile, MemoryError, NotImplementedError, zlib.error) as error:
        raise ConfigError(f"{path} is damaged ({error}); {AGAIN}.") from error
    listed = documents.parse(names, [str], name=path, error=ConfigError, cure=AGAIN)
    if counts.ndim != 3 or counts.shape[:2] != (len(listed), 3) or counts.dtype.kind not in "iu":
        raise ConfigError(f"{path}: {counts.dtype} {counts.shape} for {len(listed)} images; {AGAIN}.")
    return Images(tuple(listed), counts)


def read_curves(workdir: Path) -> dict[str, list[tuple[int, float]]]:
    """{name: (step, value) points} of the `CURVES` in the run's metrics.jsonl."""
    series: dict[str, list[tuple[int, float]]] = {}
    for line in log.read(workdir):
        for name, value in line.items():
            metric = METRIC.fullmatch(name)
            if metric and metric["kind"] in CURVES and value is not None:
                series.setdefault(name, []).append((line["step"], value))
    return series


def write_curves(workdir: Path, *, epoch: float, best: int, form: str = "png") -> None:
    """Writes `curves.png`, or `.pdf`, from the run's metrics.jsonl.

    Args:
      workdir: the run directory.
      epoch: the number of steps in one.
      best: the step of the best evaluation; 0 before the first one.
      form: 'png' or 'pdf'.
    """
    if series := read_curves(workdir):
        path = RunDirectory(workdir).curves_file.with_suffix(f".{form}")
        write_bytes(path, viz.curves(series, epoch=epoch, best=best, form=form))


def write_class_curves(workdir: Path, *, best: int) -> None:
    """Writes `curves_classes.png`, the IoU of each class, from the run's metrics.jsonl.

    At the end of a training: with 34 classes it takes three seconds. Of more than `MOST_CLASSES` it shows those whose
    last IoU is the lowest.
    """
    splits: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for line in log.read(workdir):
        for name, value in line.items():
            metric = METRIC.fullmatch(name)
            if metric and metric["kind"].startswith("iou/") and value is not None:
                points = splits.setdefault(metric["split"], {}).setdefault(metric["kind"].removeprefix("iou/"), [])
                points.append((line["step"], value))
    if not splits:
        return
    last = {name: points[-1][1] for series in splits.values() for name, points in series.items()}
    lowest = set(sorted(last, key=lambda name: last[name])[:MOST_CLASSES])
    names = [name for name in last if name in lowest]
    write_bytes(RunDirectory(workdir).class_curves_file, viz.class_curves(splits, names, best=best))


def write_confusion_pdf(directory: Path) -> None:
    """Writes `confusion.pdf` from the report.json in the directory, where there is one with a confusion matrix.

    Not with every report of a training: with 34 classes it takes three seconds.
    """
    files = ReportFiles(directory)
    try:
        stored = json.loads(files.report.read_text(encoding="utf-8"))
        names, matrix = [entry["name"] for entry in stored["classes"]], np.array(stored["confusion"], np.int64)
    except FileNotFoundError:
        return
    except (ValueError, KeyError, TypeError) as error:
        logging.warning("no confusion.pdf: %s is damaged (%s)", files.report, error)
        return
    write_bytes(files.confusion.with_suffix(".pdf"), viz.confusion(matrix, names, form="pdf"))
